import gzip
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plumbline_stack.collector import otlp

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
AS_JSON: dict[str, Any] = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "search"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": TRACE,
                            "spanId": SPAN,
                            "parentSpanId": PARENT,
                            "name": "index",
                            "kind": 5,
                            "startTimeUnixNano": "1000",
                            "endTimeUnixNano": "2000",
                            "status": {"code": 2, "message": "no"},
                            "attributes": [
                                {"key": "n", "value": {"intValue": "7"}},
                                {"key": "list", "value": {"arrayValue": {"values": [{"doubleValue": 0.5}]}}},
                            ],
                            "events": [{"timeUnixNano": "1500", "name": "retry"}],
                            "links": [{"traceId": TRACE, "spanId": PARENT}],
                        }
                    ]
                }
            ],
        }
    ]
}
ROW = {
    "trace_id": TRACE,
    "span_id": SPAN,
    "parent_id": PARENT,
    "service": "search",
    "name": "index",
    "kind": "consumer",
    "start": 1000,
    "end": 2000,
    "status": "error",
    "status_message": "no",
    "attributes": {"n": 7, "list": [0.5]},
    "events": [{"time": 1500, "name": "retry", "attributes": {}}],
    "links": [{"trace_id": TRACE, "span_id": PARENT}],
}


def from_json(content: object) -> ExportTraceServiceRequest:
    return otlp.decode(ExportTraceServiceRequest, json.dumps(content).encode(), "application/json", "")


def test_a_span_in_json_becomes_a_row() -> None:
    assert otlp.span_rows(from_json(AS_JSON)) == [ROW]


def test_a_span_in_zipped_protobuf_becomes_the_same_row() -> None:
    body = gzip.compress(from_json(AS_JSON).SerializeToString())
    message = otlp.decode(ExportTraceServiceRequest, body, "application/x-protobuf", "gzip")
    assert otlp.span_rows(message) == [ROW]


def test_a_log_record_becomes_a_row() -> None:
    record = {"timeUnixNano": "5", "severityText": "WARN", "body": {"stringValue": "hm"}, "traceId": TRACE}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    message = otlp.decode(ExportLogsServiceRequest, body, "application/json; charset=utf-8", "")
    assert otlp.log_rows(message) == [
        {
            "time": 5,
            "service": "unknown",
            "severity": "WARN",
            "body": "hm",
            "trace_id": TRACE,
            "span_id": None,
            "attributes": {},
        }
    ]


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "status"),
    [
        (b"\xff\xff\xff", "application/x-protobuf", "", 400),
        (b"{", "application/json", "", 400),
        (b'{"resourceSpans": 1}', "application/json", "", 400),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz+="}]}]}]}',
            "application/json",
            "",
            400,
        ),
        (b"", "text/plain", "", 415),
        (b"", "application/json", "br", 415),
        (b"not gzip", "application/json", "gzip", 400),
        (gzip.compress(b"{}")[:-4], "application/json", "gzip", 400),
        (gzip.compress(bytes(otlp.LIMIT + 1)), "application/json", "gzip", 413),
    ],
)
def test_what_is_not_otlp_is_refused(body: bytes, content_type: str, encoding: str, status: int) -> None:
    with pytest.raises(otlp.Unreadable) as refusal:
        otlp.decode(ExportTraceServiceRequest, body, content_type, encoding)
    assert refusal.value.status == status
