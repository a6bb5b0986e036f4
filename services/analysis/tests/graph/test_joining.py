import pytest

from plumbline_analysis.graph import joining
from plumbline_analysis.graph.joining import WAITS_SECONDS, Joiner
from plumbline_analysis.graph.rules import Edge, edge_of_metric
from plumbline_analysis.sources.spans import Span


def client(service: str, span: int, peer: str | None = None) -> Span:
    return Span(service, True, b"t" * 16, bytes([span]) * 8, b"", peer)


def server(service: str, parent: int) -> Span:
    return Span(service, False, b"t" * 16, b"s" * 8, bytes([parent]) * 8 if parent else b"", None)


def test_a_call_is_found_in_whichever_order_its_spans_come() -> None:
    joiner = Joiner()
    joiner.join([client("web", 1)], 0)
    joiner.join([server("cart", 1), server("cart", 2)], 1)
    joiner.join([client("web", 2)], 2)
    assert joiner.drain() == {Edge("web", "cart"): 2}
    assert joiner.drain() == {}


def test_a_caller_may_name_who_was_called_and_have_many_children() -> None:
    joiner = Joiner()
    joiner.join([client("web", 1, "cart"), client("web", 2), server("mail", 2), server("stock", 2)], 0)
    assert joiner.drain() == {Edge("web", "cart"): 1, Edge("web", "mail"): 1, Edge("web", "stock"): 1}


def test_roots_and_calls_of_a_service_to_itself_are_no_edges() -> None:
    joiner = Joiner()
    joiner.join([server("web", 0), client("web", 1), server("web", 1)], 0)
    assert joiner.drain() == {}


def test_what_waits_too_long_or_is_too_much_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    joiner = Joiner()
    joiner.join([client("web", 1), server("cart", 2)], 0)
    joiner.join([], WAITS_SECONDS + 1)
    joiner.join([server("cart", 1), client("web", 2)], WAITS_SECONDS + 1)
    assert joiner.drain() == {}
    monkeypatch.setattr(joining, "MOST_WAITING", 2)
    joiner.join([client("web", span) for span in (3, 4, 5)], WAITS_SECONDS + 1)
    joiner.join([server("cart", span) for span in (3, 4, 5)], WAITS_SECONDS + 1)
    assert joiner.drain() == {Edge("web", "cart"): 2}


def test_no_more_calls_are_counted_than_there_is_place_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "MOST_EDGES", 1)
    joiner = Joiner()
    joiner.join([client("web", 1, "a"), client("web", 2, "b"), client("web", 3, "a")], 0)
    counts = joiner.drain()
    assert counts == {Edge("web", "a"): 2}
    joiner.put_back(counts)
    assert joiner.drain() == counts


@pytest.mark.parametrize(
    ("metric", "attributes", "callee"),
    [
        ("http.client.request.duration", {"peer.service": "cart"}, "cart"),
        ("http.client.request.duration", {"server.address": "cart.prod.svc.cluster.local"}, "cart"),
        ("http.client.request.duration", {"server.address": "cart", "service.peer.name": "basket"}, "basket"),
        ("http_client_request_duration_seconds", {"server_address": "cart"}, "cart"),
        ("rpc.client.duration", {"server.address": "10.0.0.7"}, None),
        ("rpc.client.duration", {"server.address": "unknown.example.org"}, None),
        ("rpc.client.duration", {"peer.service": "web"}, None),
        ("rpc.client.duration", {"peer.service": "x" * 201}, None),
        ("rpc.client.duration", {}, None),
        ("traces_service_graph_request_total", {"client": "web", "server": "cart"}, "cart"),
        ("traces_service_graph_request_total", {"client": "web"}, None),
    ],
)
def test_metrics_tell_who_was_called(metric: str, attributes: dict[str, str], callee: str | None) -> None:
    found = edge_of_metric(metric, "web", attributes, {"cart"})
    assert found == (None if callee is None else Edge("web", callee))
