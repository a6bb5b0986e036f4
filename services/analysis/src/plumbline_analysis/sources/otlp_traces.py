"""OTLP/HTTP traces, protobuf encoding: a request's body becomes `Spans`. Pure and CPU-bound.

The specification: https://opentelemetry.io/docs/specs/otlp/. Of the attributes only those are read that name the
called service: https://opentelemetry.io/docs/specs/semconv/registry/attributes/peer/.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from plumbline_analysis.sources import lines, otlp, otlp_wire, spans
from plumbline_analysis.sources.batch import Undecodable
from plumbline_analysis.sources.otlp_logs import service_name
from plumbline_analysis.sources.spans import Span, Spans
from plumbline_common.errors import TooLarge

PEERS = ("service.peer.name", "peer.service")
_ENCODED = tuple(b"\x0a" + bytes([len(name)]) + name.encode() for name in PEERS)
"""How a KeyValue of such a key begins: field 1, of a length."""


def decode(body: bytes) -> Spans:
    """The spans of an ExportTraceServiceRequest that cross the border of a service.

    Raises `Undecodable` where the body is not one (nothing of it is taken then) and `TooLarge` where it holds too
    much. Single spans that can't be read are counted with the reason.
    """
    try:
        return _decode(otlp_wire.TracesRequest.FromString(body))
    except DecodeError as error:
        raise Undecodable(f"the body is not an OTLP traces request: {error}") from None


def _decode(request: Any) -> Spans:
    found, left = Spans(), spans.MAX_SPANS
    for of_resource in request.resource_spans:
        service = service_name(otlp.pairs(Resource.FromString(of_resource.resource).attributes))
        for of_scope in of_resource.scope_spans:
            left = within(left - len(of_scope.spans))
            if (fault := lines.service_fault(service)) is not None:
                found.reject(len(of_scope.spans), fault)
                continue
            for span in of_scope.spans:
                if span.kind in spans.BORDERS:
                    peer = _peer(span.attributes)
                    add(found, service, span.kind, span.trace_id, span.span_id, span.parent_span_id, peer)
    return found


def within(left: int) -> int:
    """`left` of the spans that a request may hold. Raises `TooLarge` below 0."""
    if left < 0:
        raise TooLarge(f"the request holds more than {spans.MAX_SPANS} spans: send smaller batches")
    return left


def add(
    found: Spans, service: str, kind: int, trace_id: bytes, span_id: bytes, parent_id: bytes, peer: str | None
) -> None:
    """Add one span, or the reason why it can't be read."""
    if len(trace_id) != 16 or len(span_id) != 8 or len(parent_id) not in (0, 8):
        found.reject(1, "a trace id has 16 bytes, a span id has 8")
    else:
        found.accepted.append(Span(service, kind in spans.CALLERS, trace_id, span_id, parent_id, peer))


def _peer(attributes: Iterable[bytes]) -> str | None:
    named = dict(otlp.pairs(KeyValue.FromString(each) for each in attributes if each.startswith(_ENCODED)))
    return next((named[name] for name in PEERS if named.get(name)), None)


def response(rejected: int, message: str) -> bytes:
    """ExportTraceServiceResponse; its partial success is set only where spans were left out."""
    reply = ExportTraceServiceResponse()
    if rejected:
        reply.partial_success.rejected_spans = rejected
        reply.partial_success.error_message = message
    return bytes(reply.SerializeToString())
