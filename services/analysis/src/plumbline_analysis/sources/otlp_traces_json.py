"""OTLP/HTTP traces, JSON encoding. Raises as `otlp_traces.decode` does, with a JSON pointer."""

from binascii import Error, unhexlify
from typing import Any

import orjson

from plumbline_analysis.sources import lines, otlp_traces, spans
from plumbline_analysis.sources.batch import Undecodable
from plumbline_analysis.sources.json_members import integer, member, objects, pairs, wrong
from plumbline_analysis.sources.otlp_logs import service_name
from plumbline_analysis.sources.spans import Spans


def decode(body: bytes) -> Spans:
    """The spans of an ExportTraceServiceRequest that cross the border of a service."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable("the body must be a JSON object", pointer="")
    found, left = Spans(), spans.MAX_SPANS
    for at, of_resource in objects(document, "resourceSpans", ""):
        resource_at, resource = member(of_resource, "resource", at, dict)
        service = service_name(pairs(resource, "attributes", resource_at))
        fault = lines.service_fault(service)
        for at_scope, of_scope in objects(of_resource, "scopeSpans", at):
            came = objects(of_scope, "spans", at_scope)
            left = otlp_traces.within(left - len(came))
            if fault is not None:
                found.reject(len(came), fault)
                continue
            for span_at, span in came:
                _span(found, service, span, span_at)
    return found


def _span(found: Spans, service: str, span: dict[str, Any], at: str) -> None:
    kind = integer(span, "kind", at, 0, 2**31 - 1)
    if kind in spans.BORDERS:
        trace_id, span_id, parent_id = (_id(span, name, at) for name in ("traceId", "spanId", "parentSpanId"))
        named = dict(pairs(span, "attributes", at))
        peer = next((named[name] for name in otlp_traces.PEERS if named.get(name)), None)
        otlp_traces.add(found, service, kind, trace_id, span_id, parent_id, peer)


def _id(span: dict[str, Any], name: str, at: str) -> bytes:
    """Ids are hexadecimal, other than bytes elsewhere in protobuf's JSON."""
    try:
        return unhexlify(member(span, name, at, str)[1])
    except (Error, ValueError):
        raise wrong(f"{at}/{name}", "hexadecimal digits") from None
