"""Which spans go on to the gateway: enough to learn from who calls whom, and no more."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

ONE_OF = 16
"""Of so many traces one goes on, whole."""
_BORDERS = {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER}


def sample(message: ExportTraceServiceRequest) -> bool:
    """Leave in a message the spans of the sample that cross the border of a service. Whether there are any."""
    left = 0
    for of_resource in message.resource_spans:
        for of_scope in of_resource.scope_spans:
            kept = [span for span in of_scope.spans if _is_sampled(span)]
            del of_scope.spans[:]
            of_scope.spans.extend(kept)
            left += len(kept)
    return left > 0


def _is_sampled(span: Span) -> bool:
    # The end of a trace id is random (W3C Trace Context, level 2), so all processes choose the same traces.
    return span.kind in _BORDERS and span.trace_id[-1:] < bytes([256 // ONE_OF])
