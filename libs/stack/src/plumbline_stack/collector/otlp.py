"""OTLP/HTTP bodies: protobuf or JSON, plain or gzip, into messages and plain rows."""

import base64
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

LIMIT = 32 * 1024 * 1024
"""Bytes of a body, unpacked."""

M = TypeVar("M", bound=Message)


class Unreadable(Exception):
    """The body isn't what its headers say. `status` is the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decode(kind: type[M], body: bytes, content_type: str, encoding: str) -> M:
    """The message in `body`. Raises Unreadable."""
    body = _unpack(body, encoding)
    message = kind()
    media = content_type.partition(";")[0].strip().lower()
    try:
        if media == "application/x-protobuf":
            message.ParseFromString(body)
        elif media == "application/json":
            json_format.Parse(body, message, ignore_unknown_fields=True)
            _restore_ids(message)
        else:
            raise Unreadable(415, "OTLP is application/x-protobuf or application/json")
    except (DecodeError, json_format.ParseError, ValueError) as error:
        raise Unreadable(400, f"not an OTLP {media} message: {error}") from None
    return message


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Unreadable(415, f"content-encoding {encoding} is not supported")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, LIMIT)
    except zlib.error as error:
        raise Unreadable(400, f"not gzip: {error}") from None
    if unpacker.unconsumed_tail:
        raise Unreadable(413, f"unpacked, the body has more than {LIMIT} bytes")
    if not unpacker.eof:
        raise Unreadable(400, "the gzip stream is cut short")
    return unpacked


def _restore_ids(message: Message) -> None:
    """OTLP writes ids in JSON as hex, which protobuf's own JSON took for base64."""
    if isinstance(message, ExportTraceServiceRequest):
        for _, span in _spans(message):
            span.trace_id, span.span_id = _from_hex(span.trace_id), _from_hex(span.span_id)
            span.parent_span_id = _from_hex(span.parent_span_id)
            for link in span.links:
                link.trace_id, link.span_id = _from_hex(link.trace_id), _from_hex(link.span_id)
    elif isinstance(message, ExportLogsServiceRequest):
        for resource in message.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    record.trace_id, record.span_id = _from_hex(record.trace_id), _from_hex(record.span_id)


def _from_hex(misread: bytes) -> bytes:
    return bytes.fromhex(base64.b64encode(misread).decode())


def _spans(message: ExportTraceServiceRequest) -> Iterator[tuple[str, Span]]:
    for resource in message.resource_spans:
        service = service_name(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield service, span


def span_rows(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    """Each span as the plain row that `GET /traces/{trace_id}` gives: ids in hex, times in ns since 1970."""
    return [
        {
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
            "parent_id": span.parent_span_id.hex() or None,
            "service": service,
            "name": span.name,
            "kind": _name(Span.SpanKind, span.kind, "SPAN_KIND_"),
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "status": _name(Status.StatusCode, span.status.code, "STATUS_CODE_"),
            "status_message": span.status.message,
            "attributes": attributes(span.attributes),
            "events": [
                {"time": e.time_unix_nano, "name": e.name, "attributes": attributes(e.attributes)}
                for e in span.events
            ],
            "links": [{"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links],
        }
        for service, span in _spans(message)
    ]


def log_rows(message: ExportLogsServiceRequest) -> list[dict[str, Any]]:
    """Each log record as the plain row that `GET /logs` gives."""
    rows = []
    for resource in message.resource_logs:
        service = service_name(resource.resource)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                body = value(record.body)
                rows.append(
                    {
                        "time": record.time_unix_nano or record.observed_time_unix_nano,
                        "service": service,
                        "severity": record.severity_text or str(record.severity_number),
                        "body": body if isinstance(body, str) else json.dumps(body),
                        "trace_id": record.trace_id.hex() or None,
                        "span_id": record.span_id.hex() or None,
                        "attributes": attributes(record.attributes),
                    }
                )
    return rows


def service_name(resource: Resource) -> str:
    return str(attributes(resource.attributes).get("service.name", "unknown"))


def _name(enum: Any, number: int, prefix: str) -> str:
    """A newer sender may know more names than this."""
    return str(enum.Name(number).removeprefix(prefix).lower() if number in enum.values() else number)


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: value(pair.value) for pair in pairs}


def value(any_value: AnyValue) -> Any:
    """What an AnyValue holds as JSON: bytes as base64, and what is no number as its name."""
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(each) for each in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes(any_value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(any_value.bytes_value).decode()
    if kind == "double_value" and not math.isfinite(any_value.double_value):
        return json_format.MessageToDict(any_value)["doubleValue"]
    return getattr(any_value, kind) if kind else None
