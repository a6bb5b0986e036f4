from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plumbline_stack.collector.sampling import ONE_OF, sample


def request(*kinds: int, last: int) -> ExportTraceServiceRequest:
    """Spans of a trace whose id ends so."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for kind in kinds:
        spans.add(trace_id=b"\x07" * 15 + bytes([last]), kind=kind)
    return message


def test_of_a_sampled_trace_what_crosses_a_border_goes_on() -> None:
    message = request(1, 2, 3, 4, 5, last=0)
    assert sample(message)
    assert [span.kind for span in message.resource_spans[0].scope_spans[0].spans] == [2, 3, 4, 5]
    assert not sample(request(1, last=0))


def test_one_of_some_traces_goes_on() -> None:
    assert sum(sample(request(2, last=last)) for last in range(256)) == 256 // ONE_OF
