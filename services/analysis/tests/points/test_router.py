import asyncio
import gzip
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from sqlalchemy import text

from plumbline_common import db

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def nanos(seconds_ago: float = 1.0) -> int:
    return time.time_ns() - int(seconds_ago * 1e9)


def counter(*points: tuple[int, float], name: str = "orders", route: str = "/basket") -> Metric:
    metric = Metric(name=name, unit="{order}")
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.is_monotonic = True
    for at, value in points:
        point = metric.sum.data_points.add(start_time_unix_nano=nanos(3600), time_unix_nano=at, as_double=value)
        point.attributes.add(key="http.route").value.string_value = route
    return metric


def histogram(at: int) -> Metric:
    metric = Metric(name="latency", unit="s")
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.histogram.data_points.add(
        start_time_unix_nano=at - 10**9,
        time_unix_nano=at,
        count=3,
        sum=1.5,
        bucket_counts=[1, 2, 0],
        explicit_bounds=[0.5, 1.0],
    )
    return metric


def exponential(at: int) -> Metric:
    metric = Metric(name="size", unit="By")
    metric.exponential_histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.exponential_histogram.data_points.add(
        start_time_unix_nano=at - 10**9, time_unix_nano=at, count=4, sum=1.5, scale=2, zero_count=1
    )
    point.positive.offset = -3
    point.positive.bucket_counts.extend([1, 2])
    return metric


def request(*metrics: Metric) -> bytes:
    whole = ExportMetricsServiceRequest()
    of_resource = whole.resource_metrics.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    of_resource.scope_metrics.add().metrics.extend(metrics)
    return whole.SerializeToString()


async def stored(sessions: db.Sessions, table: str = "number_points") -> list[Any]:
    async with sessions() as session:
        rows = await session.execute(text(f"SELECT * FROM {table} ORDER BY signal, ts"))
        return list(rows.all())


async def test_points_are_durable_when_they_are_acknowledged(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = nanos()
    reply = await collector.post(
        "/v1/metrics", content=request(counter((at, 5.0)), histogram(at), exponential(at)), headers=PROTOBUF
    )
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert not ExportMetricsServiceResponse.FromString(reply.content).HasField("partial_success")
    (number,) = await stored(sessions)
    assert number.value == 5.0
    assert int(number.ts.timestamp() * 1e6) == at // 1000
    spread, explicit = sorted(await stored(sessions, "histogram_points"), key=lambda row: len(row.counts))
    assert (explicit.counts, explicit.count, explicit.sum) == ([1, 2, 0], 3, 1.5)
    assert (spread.counts, spread.position, spread.zero_count, spread.negative_counts) == ([1, 2], -3, 1, [])
    layouts = await stored_layouts(sessions)
    assert layouts == {(0.5, 1.0): None, (): 2}


async def stored_layouts(sessions: db.Sessions) -> dict[tuple[float, ...], int | None]:
    async with sessions() as session:
        rows = await session.execute(text("SELECT bounds, scale FROM bucket_layouts"))
        return {tuple(row.bounds): row.scale for row in rows}


async def test_sending_again_changes_nothing(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    at = nanos()
    first = request(counter((at, 5.0)), histogram(at))
    for body in (first, first, request(counter((at, 5.0), (at + 10**6, 6.0)), histogram(at))):
        assert (await collector.post("/v1/metrics", content=body, headers=PROTOBUF)).status_code == 200
    assert [row.value for row in await stored(sessions)] == [5.0, 6.0]
    assert len(await stored(sessions, "histogram_points")) == 1


async def test_one_series_is_one_signal_in_whatever_order_its_attributes_come(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    for turn, keys in enumerate((("a", "b"), ("b", "a"))):
        metric = Metric(name="depth")
        point = metric.gauge.data_points.add(time_unix_nano=nanos() + turn * 10**6, as_double=1.0)
        for key in keys:
            point.attributes.add(key=key).value.string_value = key
        assert (await collector.post("/v1/metrics", content=request(metric), headers=PROTOBUF)).status_code == 200
    assert len({row.signal for row in await stored(sessions)}) == 1


async def test_requests_at_once_that_bring_the_same_new_series_agree(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = nanos()
    bodies = [
        request(*(counter((at + turn * 1000, 1.0), name=f"metric.{n}") for n in range(50))) for turn in range(8)
    ]
    replies = await asyncio.gather(
        *(collector.post("/v1/metrics", content=body, headers=PROTOBUF) for body in [*bodies, *bodies])
    )
    assert {reply.status_code for reply in replies} == {200}
    rows = await stored(sessions)
    assert len(rows) == 400
    assert len({row.signal for row in rows}) == 50


async def test_points_are_dropped_one_by_one_with_the_reason(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = nanos()
    metrics = [counter((at, 1.0), (at + 1000, float("nan")), (nanos(50 * 3600), 1.0), (nanos(-700), 1.0))]
    reply = await collector.post("/v1/metrics", content=request(*metrics), headers=PROTOBUF)
    partial = ExportMetricsServiceResponse.FromString(reply.content).partial_success
    assert (reply.status_code, partial.rejected_data_points) == (200, 3)
    for reason in ("48 h in the past", "10 min in the future", "not a finite number", "'orders'"):
        assert reason in partial.error_message
    assert len(await stored(sessions)) == 1


async def test_a_series_that_cannot_be_stored_does_not_keep_the_others_out(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = nanos()
    bad = [counter((at, 1.0), route="x" * 2000), counter((at, 1.0), route="a\x00b")]
    reply = await collector.post("/v1/metrics", content=request(*bad, counter((at, 2.0))), headers=PROTOBUF)
    partial = ExportMetricsServiceResponse.FromString(reply.content).partial_success
    assert partial.rejected_data_points == 2
    assert "NUL" in partial.error_message
    assert [row.value for row in await stored(sessions)] == [2.0]


async def test_json_is_answered_in_json(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    point = {"timeUnixNano": str(nanos()), "asDouble": 2.5}
    metrics = [{"name": "depth", "gauge": {"dataPoints": [point, point | {"timeUnixNano": "1"}]}}]
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
    reply = await collector.post("/v1/metrics", json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    assert (await collector.post("/v1/metrics", json={})).json() == {}
    assert [row.value for row in await stored(sessions)] == [2.5]


async def test_gzip_is_read(collector: httpx.AsyncClient, sessions: db.Sessions) -> None:
    body = gzip.compress(request(counter((nanos(), 5.0))))
    reply = await collector.post("/v1/metrics", content=body, headers=PROTOBUF | {"Content-Encoding": "gzip"})
    assert reply.status_code == 200
    assert len(await stored(sessions)) == 1


FINE = request(counter((nanos(), 5.0)))
JSON = {"Content-Type": "application/json"}
GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (FINE[:-4], PROTOBUF, 400),
        (b"\xff" * 50, PROTOBUF, 400),
        (FINE.replace(b"orders", b"ord\xff\xfes"), PROTOBUF, 400),
        (FINE.replace(b"/basket", b"/\xff\xfeaske"), PROTOBUF, 400),
        (gzip.compress(FINE)[:-9], PROTOBUF | GZIP, 400),
        (FINE, PROTOBUF | GZIP, 400),
        (b'{"resourceMetrics": 1}', JSON, 400),
        (b"{", JSON, 400),
        (b'{"resourceMetrics": "\xff"}', JSON, 400),
        (b'{"resourceMetrics": "\\ud800"}', JSON, 400),
        (FINE, {"Content-Type": "text/plain"}, 415),
        (FINE, {}, 415),
        (FINE, PROTOBUF | {"Content-Encoding": "br"}, 415),
        (gzip.compress(bytes(2_000_000)), PROTOBUF | GZIP, 413),
        (bytes(300_000), PROTOBUF, 413),
    ],
)
async def test_what_cannot_be_read_is_refused_whole(
    collector: httpx.AsyncClient, sessions: db.Sessions, content: bytes, headers: dict[str, str], status: int
) -> None:
    reply = await collector.post("/v1/metrics", content=content, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]
    assert await stored(sessions) == []
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM signals"))).scalar_one() == 0


@pytest.mark.parametrize("role", ["viewer", "editor", "reviewer"])
async def test_only_collectors_may_send(caller: Any, role: str) -> None:
    reply = await caller(role).post("/v1/metrics", content=FINE, headers=PROTOBUF)
    assert reply.status_code == 403
    assert (await caller(role).post("/api/v1/telemetry/points", json={"points": []})).status_code == 403


async def test_a_collector_may_only_send(collector: httpx.AsyncClient) -> None:
    for path in ("/api/v1/signals", "/api/v1/anomalies", "/api/v1/verdicts"):
        assert (await collector.get(path)).status_code == 403


async def test_days_without_tables_are_tried_again_later(
    app: FastAPI, collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    wide = app.state.settings.model_copy(update={"past_limit_hours": 24 * 20.0})
    original, app.state.settings = app.state.settings, wide
    try:
        metric = Metric(name="depth")
        metric.gauge.data_points.add(time_unix_nano=nanos(15 * 86_400), as_double=1.0)
        body = request(metric)
        reply = await collector.post("/v1/metrics", content=body, headers=PROTOBUF)
    finally:
        app.state.settings = original
    assert reply.status_code == 503
    assert reply.headers["retry-after"]
    assert await stored(sessions) == []
