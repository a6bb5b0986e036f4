import contextlib
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from plumbline_analysis.sources import otlp_traces, otlp_traces_json, spans
from plumbline_analysis.sources.batch import Undecodable
from plumbline_analysis.sources.spans import CLIENT, Span, Spans
from plumbline_common.errors import TooLarge

TRACE, SPAN, PARENT = b"\x01" * 16, b"\x02" * 8, b"\x03" * 8


def request(service: str = "shop", peer: str = "", **span: Any) -> ExportTraceServiceRequest:
    whole = ExportTraceServiceRequest()
    of_resource = whole.resource_spans.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = service
    given = {"trace_id": TRACE, "span_id": SPAN, "kind": CLIENT} | span
    added = of_resource.scope_spans.add().spans.add(**given)
    if peer:
        added.attributes.add(key="http.request.method").value.string_value = "GET"
        added.attributes.add(key="peer.service").value.string_value = peer
    return whole


def decode(whole: ExportTraceServiceRequest) -> Spans:
    """What both encodings say."""
    found = otlp_traces.decode(whole.SerializeToString())
    document = json_format.MessageToDict(whole, use_integers_for_enums=True)
    for of_resource, of_proto in zip(document["resourceSpans"], whole.resource_spans, strict=True):
        for span, proto in zip(of_resource["scopeSpans"][0]["spans"], of_proto.scope_spans[0].spans, strict=True):
            # OTLP writes ids in hexadecimal.
            span |= {"traceId": proto.trace_id.hex(), "spanId": proto.span_id.hex()}
            span |= {"parentSpanId": proto.parent_span_id.hex()}
    assert otlp_traces_json.decode(json.dumps(document).encode()) == found
    return found


def test_spans_at_the_border_of_a_service_are_decoded() -> None:
    assert decode(request(peer="cart", parent_span_id=PARENT)).accepted == [
        Span("shop", True, TRACE, SPAN, PARENT, "cart")
    ]
    assert decode(request(kind=2)).accepted == [Span("shop", False, TRACE, SPAN, b"", None)]
    assert decode(request(kind=1)) == Spans()


def test_what_the_sdk_exports_is_decoded() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as server, tracer.start_as_current_span("inner"):
        tracer.start_span("GET", kind=SpanKind.CLIENT, attributes={"service.peer.name": "cart"}).end()
    client, answer = otlp_traces.decode(encode_spans(exporter.get_finished_spans()).SerializeToString()).accepted
    assert (client.service, client.is_caller, client.peer) == ("shop", True, "cart")
    assert (answer.is_caller, answer.span_id.hex()) == (False, f"{server.get_span_context().span_id:016x}")


def test_spans_without_sound_ids_or_names_are_counted_with_the_reason() -> None:
    short = decode(request(trace_id=b"\x01"))
    assert (short.accepted, short.message) == ([], "1 spans: a trace id has 16 bytes, a span id has 8")
    assert decode(request(service="x" * 300)).message == "1 spans: the service's name is longer than 255 characters"
    reply = ExportTraceServiceResponse.FromString(otlp_traces.response(short.rejected, short.message))
    assert (reply.partial_success.rejected_spans, reply.partial_success.error_message) == (1, short.message)
    assert otlp_traces.response(0, "") == b""


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", None),
        (b"[]", ""),
        (b'{"resourceSpans": 1}', "/resourceSpans"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [1]}]}]}', "/resourceSpans/0/scopeSpans/0/spans/0"),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "x"}]}]}]}',
            "/resourceSpans/0/scopeSpans/0/spans/0/kind",
        ),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": 3, "traceId": "xyz"}]}]}]}',
            "/resourceSpans/0/scopeSpans/0/spans/0/traceId",
        ),
    ],
)
def test_json_that_is_no_request_is_told_with_its_place(body: bytes, pointer: str | None) -> None:
    with pytest.raises(Undecodable) as error:
        otlp_traces_json.decode(body)
    assert error.value.pointer == pointer


def test_a_request_holds_a_bounded_number_of_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_SPANS", 0)
    with pytest.raises(TooLarge):
        otlp_traces.decode(request().SerializeToString())
    with pytest.raises(TooLarge):
        decode(request())


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    for decoder in (otlp_traces.decode, otlp_traces_json.decode):
        with contextlib.suppress(Undecodable):
            assert isinstance(decoder(body), Spans)
