import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.graph import repository
from plumbline_analysis.graph.rules import Edge
from plumbline_analysis.graph.service import Learner
from plumbline_analysis.incident_keeper import GraphKeeper
from plumbline_common import db

GRAPH = "/api/v1/services/graph"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def keeper(app: FastAPI, sessions: db.Sessions, read_sessions: db.Sessions) -> GraphKeeper:
    app.state.learner = Learner()
    settings = app.state.settings
    leader = Evaluator(sessions, read_sessions, settings)
    return GraphKeeper(sessions, settings, app.state.learner, leader.claim)


def call(caller: str, callee: str) -> bytes:
    """A trace of one call."""
    whole = ExportTraceServiceRequest()
    for service, kind, ids in ((caller, 3, {"span_id": b"c" * 8}), (callee, 2, {"parent_span_id": b"c" * 8})):
        of_resource = whole.resource_spans.add()
        of_resource.resource.attributes.add(key="service.name").value.string_value = service
        of_resource.scope_spans.add().spans.add(**{"trace_id": b"t" * 16, "span_id": b"s" * 8, "kind": kind} | ids)
    return whole.SerializeToString()


async def edges(viewer: httpx.AsyncClient, **asked: Any) -> list[tuple[str, str, int]]:
    graph = (await viewer.get(GRAPH, params=asked)).json()
    return [(each["caller"], each["callee"], each["count"]) for each in graph["edges"]]


async def test_calls_in_traces_become_the_service_graph(
    collector: httpx.AsyncClient, viewer: httpx.AsyncClient, keeper: GraphKeeper
) -> None:
    for caller, callee in (("web", "cart"), ("web", "cart"), ("cart", "db")):
        reply = await collector.post("/v1/traces", content=call(caller, callee), headers=PROTOBUF)
        assert (reply.status_code, reply.content) == (200, b"")
    await keeper.flush()
    await keeper.flush()
    graph = (await viewer.get(GRAPH)).json()
    assert graph["nodes"] == [
        {"service": "cart", "callers": 1, "callees": 1},
        {"service": "db", "callers": 1, "callees": 0},
        {"service": "web", "callers": 0, "callees": 1},
    ]
    assert await edges(viewer) == [("cart", "db", 1), ("web", "cart", 2)]
    assert await edges(viewer, service="db") == [("cart", "db", 1)]
    assert await edges(viewer, service="mail") == []
    await collector.post("/v1/traces", content=call("web", "cart"), headers=PROTOBUF)
    await keeper.flush()
    assert await edges(viewer, service="web") == [("web", "cart", 3)]


async def test_traces_come_as_json_and_gzip_and_what_is_wrong_is_told(
    collector: httpx.AsyncClient, viewer: httpx.AsyncClient, keeper: GraphKeeper
) -> None:
    span = {"traceId": "01" * 16, "spanId": "02" * 8, "kind": 3}
    named = span | {"attributes": [{"key": "peer.service", "value": {"stringValue": "cart"}}]}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]}
    spans = [named, span | {"traceId": "01"}]
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = await collector.post("/v1/traces", content=gzip.compress(body), headers=headers)
    assert reply.json() == {
        "partialSuccess": {
            "rejectedSpans": "1",
            "errorMessage": "1 spans: a trace id has 16 bytes, a span id has 8",
        }
    }
    await keeper.flush()
    assert await edges(viewer) == [("web", "cart", 1)]
    assert (await collector.post("/v1/traces", content=b"\xff", headers=PROTOBUF)).status_code == 400
    assert (await collector.post("/v1/traces", content=b"", headers={"Content-Type": "text/csv"})).status_code == 415
    assert (await viewer.post("/v1/traces", content=b"", headers=PROTOBUF)).status_code == 403


async def test_what_could_not_be_written_is_written_later(
    collector: httpx.AsyncClient,
    viewer: httpx.AsyncClient,
    keeper: GraphKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await collector.post("/v1/traces", content=call("web", "cart"), headers=PROTOBUF)
    with monkeypatch.context() as patch:
        patch.setattr(repository, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await keeper.flush()
    await keeper.flush()
    assert await edges(viewer) == [("web", "cart", 1)]


def measured(service: str, metric: str, **attributes: str) -> bytes:
    whole = ExportMetricsServiceRequest()
    of_resource = whole.resource_metrics.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = service
    added = of_resource.scope_metrics.add().metrics.add(name=metric, unit="s")
    added.sum.aggregation_temporality = 2
    added.sum.is_monotonic = True
    point = added.sum.data_points.add(time_unix_nano=time.time_ns(), as_double=3.0)
    for name, value in attributes.items():
        point.attributes.add(key=name.replace("_", ".")).value.string_value = value
    return whole.SerializeToString()


async def test_calls_in_metrics_become_the_service_graph_until_they_are_old(
    collector: httpx.AsyncClient, viewer: httpx.AsyncClient, keeper: GraphKeeper, sessions: db.Sessions
) -> None:
    for content in (
        measured("cart", "http.server.request.duration"),
        measured("web", "http.client.request.duration", server_address="cart.prod.svc"),
        measured("web", "http.client.request.duration", server_address="elsewhere.example.org"),
        measured("collector", "traces_service_graph_request_total", client="cart", server="db"),
    ):
        (await collector.post("/v1/metrics", content=content, headers=PROTOBUF)).raise_for_status()
    await keeper.look()
    assert await edges(viewer) == [("cart", "db", 1), ("web", "cart", 1)]
    old = datetime.now(UTC) - timedelta(days=8)
    async with sessions.begin() as session:
        await repository.add(session, {Edge("web", "mail"): 1}, old)
    assert ("web", "mail", 1) in await edges(viewer)
    await keeper.look()
    assert await edges(viewer) == [("cart", "db", 2), ("web", "cart", 2)]


async def test_no_more_calls_are_kept_than_there_is_place_for(
    viewer: httpx.AsyncClient, keeper: GraphKeeper, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_EDGES", 2)
    now = datetime.now(UTC)
    for counts in ({Edge("a", "b"): 1}, {Edge("a", "b"): 1, Edge("c", "d"): 1, Edge("e", "f"): 1}):
        async with sessions.begin() as session:
            await repository.add(session, counts, now)
    assert ("a", "b", 2) in await edges(viewer)
    assert len(await edges(viewer)) <= 2
