import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio
from asgi_lifespan import LifespanManager
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from plumbline_stack.collector.app import create_app
from plumbline_stack.collector.store import Store

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPANS = {
    "resourceSpans": [
        {"scopeSpans": [{"spans": [{"traceId": TRACE, "spanId": "b7ad6b7169203331", "name": "index"}]}]}
    ]
}
LOGS = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hm"}, "traceId": TRACE}]}]}]}


@contextlib.asynccontextmanager
async def nothing_beside() -> AsyncIterator[None]:
    yield


@pytest_asyncio.fixture
async def put() -> list[Message]:
    return []


@pytest_asyncio.fixture
async def client(tmp_path: Path, put: list[Message]) -> AsyncIterator[httpx.AsyncClient]:
    store = Store(tmp_path / "telemetry.sqlite")
    app = create_app(store, put.append, put.append, put.append, nothing_beside)
    async with LifespanManager(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as opened:
            yield opened
    store.close()


async def test_what_was_sent_can_be_read(client: httpx.AsyncClient, put: list[Message]) -> None:
    assert (await client.post("/v1/traces", json=SPANS)).json() == {}
    assert (await client.post("/v1/logs", json=LOGS)).json() == {}
    assert [span["name"] for span in (await client.get(f"/traces/{TRACE}")).json()] == ["index"]
    assert (await client.get(f"/traces/{TRACE.upper()}")).json() != []
    assert [trace["trace_id"] for trace in (await client.get("/traces")).json()] == [TRACE]
    logs = (await client.get("/logs", params={"trace_id": TRACE, "limit": "x"})).json()
    assert [record["body"] for record in logs] == ["hm"]
    assert [type(each) for each in put] == [ExportTraceServiceRequest, ExportLogsServiceRequest]


async def test_values_beyond_what_json_and_sqlite_hold_are_kept(client: httpx.AsyncClient) -> None:
    sent = ExportTraceServiceRequest()
    span = sent.resource_spans.add().scope_spans.add().spans.add(trace_id=bytes.fromhex(TRACE), span_id=b"12345678")
    span.start_time_unix_nano = span.end_time_unix_nano = 2**64 - 1
    span.kind, span.status.code = 99, 98  # type: ignore[assignment] # of a later OTLP
    for name, number in (("nan", math.nan), ("inf", math.inf), ("one", 1.0)):
        span.attributes.add(key=name).value.double_value = number
    headers = {"content-type": "application/x-protobuf"}
    assert (await client.post("/v1/traces", content=sent.SerializeToString(), headers=headers)).status_code == 200
    (row,) = (await client.get(f"/traces/{TRACE}")).json()
    assert (row["kind"], row["status"], row["start"]) == ("99", "98", 2**64 - 1)
    assert row["attributes"] == {"nan": "NaN", "inf": "Infinity", "one": 1.0}


async def test_metrics_are_passed_on(client: httpx.AsyncClient, put: list[Message]) -> None:
    sent = ExportMetricsServiceRequest()
    sent.resource_metrics.add().schema_url = "x"
    headers = {"content-type": "application/x-protobuf"}
    reply = await client.post("/v1/metrics", content=sent.SerializeToString(), headers=headers)
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert put == [sent]


async def test_what_cannot_be_read_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, put: list[ExportMetricsServiceRequest]
) -> None:
    for path in ("/v1/traces", "/v1/logs", "/v1/metrics"):
        reply = await client.post(path, content=b"\xff", headers={"content-type": "application/x-protobuf"})
        assert reply.status_code == 400
        assert "not an OTLP" in reply.json()["message"]
        assert (await client.post(path, content=b"", headers={"content-type": "x/y"})).status_code == 415
    assert put == []
    assert (await client.get("/traces")).json() == []
