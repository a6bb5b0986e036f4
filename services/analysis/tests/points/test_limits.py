import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from sqlalchemy import text

from plumbline_analysis.points import limits
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.limits import Limits, Quota, Reason, Room
from plumbline_common import db
from prometheus import V1, sample, series, snappy, write_request

SMALL = Limits(series_per_metric=3, series_per_service=5, services=2, points_per_minute=8)


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


# --- What is counted --------------------------------------------------------------------------------------


def test_there_is_room_up_to_each_limit() -> None:
    room = Room(SMALL)
    assert room.uncounted(["shop", "shop"]) == {"shop"}
    room.counted(["shop"], {"shop": {"requests": 2}}, known_services=1)
    assert [room.admit("shop", "requests") for _ in range(2)] == [None, Reason.SERIES_PER_METRIC]
    assert [room.admit("shop", "errors") for _ in range(3)] == [None, None, Reason.SERIES_PER_SERVICE]
    room.counted(["mail", "bank"], {}, known_services=1)
    assert [room.admit(service, "m") for service in ("mail", "bank", "mail")] == [None, Reason.SERVICES, None]


def test_series_are_counted_anew_each_minute() -> None:
    clock = Clock()
    room = Room(SMALL, clock)
    room.counted(room.uncounted(["shop"]), {}, known_services=0)
    assert room.uncounted(["shop"]) == set()
    clock.now += 60
    assert room.uncounted(["shop"]) == {"shop"}


def test_a_service_may_send_so_much_in_a_minute() -> None:
    clock = Clock()
    quota = Quota(SMALL, clock)
    assert [quota.charge("shop", 4), quota.charge("shop", 4), quota.charge("shop", 1)] == [True, True, False]
    assert quota.charge("mail", 100), "what is larger than a whole minute's points would never pass"
    clock.now += 59.5
    assert (quota.charge("shop", 1), quota.seconds_left) == (False, 1)
    clock.now += 0.5
    assert (quota.charge("shop", 8), quota.seconds_left) == (True, 60)


def test_services_beyond_counting_share_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_NAMES", 1)
    quota = Quota(SMALL, Clock())
    assert [quota.charge(name, 5) for name in ("shop", "mail", "bank")] == [True, True, False]


# --- What senders see -------------------------------------------------------------------------------------


@pytest.fixture
def limited(app: FastAPI) -> Any:
    def to(**members: int) -> None:
        app.state.directory = Directory(replace(limits.NONE, **members))

    return to


async def write(client: httpx.AsyncClient, *every: bytes) -> httpx.Response:
    return await client.post("/api/v1/write", content=snappy(write_request(*every)), headers=V1)


def gauge(value: float, **labels: str) -> bytes:
    return series({"__name__": "depth", "job": "shop"} | labels, [sample(value, time.time_ns() // 1_000_000)])


async def stored(sessions: db.Sessions) -> list[float]:
    async with sessions() as session:
        return sorted(await session.scalars(text("SELECT value FROM number_points")))


async def test_a_bomb_of_labels_leaves_the_other_series_alone(
    collector: httpx.AsyncClient, sessions: db.Sessions, app: FastAPI, limited: Any
) -> None:
    limited(series_per_metric=10)
    assert (await write(collector, *(gauge(1.0, queue=str(n)) for n in range(3)))).status_code == 204
    for turn in range(5):
        bomb = [gauge(2.0, user=str(turn * 1000 + n)) for n in range(1000)]
        reply = await write(collector, *bomb, gauge(3.0 + turn, queue="0"), gauge(0.0, __name__="width"))
        assert reply.status_code == 400
        assert "the metric has 10 series in this service, and may have no more (first in 'depth')" in reply.text
    values = await stored(sessions)
    assert values == [0.0] * 5 + [1.0] * 3 + [2.0] * 7 + [3.0, 4.0, 5.0, 6.0, 7.0]
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM signals"))).scalar_one() == 11
    assert app.state.directory._series <= 11, "what was refused is not remembered"


async def test_each_protocol_tells_of_it_in_its_own_way(
    collector: httpx.AsyncClient, sessions: db.Sessions, limited: Any
) -> None:
    limited(series_per_service=1)
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    points = of_resource.scope_metrics.add().metrics.add(name="depth").gauge.data_points
    for queue in ("mail", "news"):
        point = points.add(time_unix_nano=time.time_ns(), as_double=1.0)
        point.attributes.add(key="queue").value.string_value = queue
    headers = {"Content-Type": "application/x-protobuf"}
    reply = await collector.post("/v1/metrics", content=request.SerializeToString(), headers=headers)
    partial = ExportMetricsServiceResponse.FromString(reply.content).partial_success
    assert (reply.status_code, partial.rejected_data_points) == (200, 1)
    assert "the service has 1 series, and may have no more" in partial.error_message

    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    pushed = [
        {"metric": "depth", "time": at, "value": 1.0, "resource": {"service.name": service}}
        for service in ("mail", "shop")
    ]
    reply = await collector.post("/api/v1/telemetry/points", json={"points": pushed})
    detail = "the service has 1 series, and may have no more"
    assert reply.json() == {"accepted": 1, "rejected": [{"index": 1, "detail": detail}]}
    assert await stored(sessions) == [1.0, 1.0]


async def test_a_further_service_is_refused_when_there_are_enough(collector: httpx.AsyncClient, limited: Any) -> None:
    limited(services=2)
    reply = await write(collector, *(gauge(1.0, job=f"job-{n}") for n in range(3)))
    assert (reply.status_code, reply.headers["x-prometheus-remote-write-samples-written"]) == (400, "2")
    assert "there are 2 services, and may be no more" in reply.text


async def test_who_sends_too_much_is_told_when_to_go_on(
    collector: httpx.AsyncClient, sessions: db.Sessions, limited: Any
) -> None:
    limited(points_per_minute=2)
    assert (await write(collector, gauge(1.0, queue="a"), gauge(2.0, queue="b"))).status_code == 204
    reply = await write(collector, gauge(3.0, queue="c"))
    assert (reply.status_code, reply.json()["type"]) == (429, "urn:plumbline:problem:quota-spent")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    mixed = await write(collector, gauge(4.0, queue="d"), gauge(5.0, job="mail"))
    assert mixed.status_code == 400
    assert "1 points: the service sent the 2 points that it may send in a minute" in mixed.text
    assert await stored(sessions) == [1.0, 2.0, 5.0]
    async with sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM signals"))).scalar_one() == 3


async def test_series_that_were_there_before_the_process_count(
    collector: httpx.AsyncClient, limited: Any, sessions: db.Sessions
) -> None:
    assert (await write(collector, *(gauge(1.0, queue=str(n)) for n in range(3)))).status_code == 204
    limited(series_per_metric=3, services=1)
    assert (await write(collector, gauge(2.0, queue="0"), gauge(2.0, queue="9"))).status_code == 400
    assert (await write(collector, gauge(2.0, job="mail"))).status_code == 400
    assert await stored(sessions) == [1.0, 1.0, 1.0, 2.0]
