import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from fastapi import FastAPI
from sqlalchemy import text

from plumbline_common import db
from prometheus import STALE, V1, V2, Symbols, native, sample, series, snappy, write_request

LABELS = {"__name__": "requests_total", "instance": "web-1:80", "job": "shop"}
WRITTEN = "x-prometheus-remote-write-{}-written"


def now() -> int:
    return time.time_ns() // 1_000_000


async def write(client: httpx.AsyncClient, body: bytes, headers: dict[str, str] = V1) -> httpx.Response:
    return await client.post("/api/v1/write", content=snappy(body), headers=headers)


def counts(reply: httpx.Response) -> list[str]:
    return [reply.headers[WRITTEN.format(each)] for each in ("samples", "histograms", "exemplars")]


async def stored(sessions: db.Sessions) -> list[float]:
    async with sessions() as session:
        return list(await session.scalars(text("SELECT value FROM number_points ORDER BY signal, ts")))


async def test_samples_and_histograms_are_durable_when_they_are_acknowledged(
    collector: httpx.AsyncClient, viewer: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at, symbols = now(), Symbols()
    spread = native(at, 3, 1.5, 2, positive=([(0, 2)], [1, 1]))
    both = [(LABELS, [sample(5.0, at)], []), (LABELS | {"__name__": "wait_seconds"}, [], [spread])]
    v2 = symbols.request(*(symbols.series(*each) for each in both))
    for body, headers in ((write_request(*(series(*each) for each in both)), V1), (v2, V2)):
        reply = await write(collector, body, headers)
        assert (reply.status_code, reply.content, counts(reply)) == (204, b"", ["1", "1", "0"])
    assert await stored(sessions) == [5.0]
    async with sessions() as session:
        (row,) = await session.execute(text("SELECT counts, position FROM histogram_points"))
    assert (row.counts, row.position) == ([1, 2], -1)
    found = (await viewer.get("/api/v1/signals", params={"metric": "requests_total"})).json()["items"]
    assert [(each["source"], each["service"], each["kind"]) for each in found] == [("prometheus", "shop", "sum")]
    assert found[0]["resource"] == {"service.name": "shop", "service.instance.id": "web-1:80"}


async def test_out_of_order_and_duplicate_samples_change_nothing(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = now()
    for samples in ([(2.0, at), (1.0, at - 1000)], [(1.0, at - 1000)], [(9.0, at), (3.0, at + 1000), (9.0, at)]):
        reply = await write(collector, write_request(series(LABELS, [sample(*each) for each in samples])))
        assert (reply.status_code, counts(reply)[0]) == (204, str(len(samples)))
    assert await stored(sessions) == [1.0, 2.0, 3.0]


async def test_what_cannot_be_stored_is_told_and_the_rest_is_kept(
    collector: httpx.AsyncClient, sessions: db.Sessions
) -> None:
    at = now()
    samples = [sample(1.0, at - 50 * 3_600_000), sample(STALE, at), sample(2.0, at)]
    nameless = series({"job": "shop"}, [sample(1.0, at)])
    reply = await write(collector, write_request(series(LABELS, samples), nameless))
    assert (reply.status_code, counts(reply)) == (400, ["2", "0", "0"])
    assert reply.headers["content-type"] == "application/problem+json"
    for reason in ("1 points: the time is more than 48 h in the past", "1 points: the metric has no name"):
        assert reason in reply.json()["detail"]
    assert await stored(sessions) == [2.0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Encoding": "zstd"}, 415),
        ({"Content-Type": "application/x-protobuf; proto=prometheus.WriteRequest"}, 204),
        ({"Content-Type": 'application/x-protobuf; proto="io.prometheus.write.v2.Request"'}, 204),
    ],
)
async def test_the_message_is_what_the_media_type_says(
    collector: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await write(collector, b"", V1 | headers)).status_code == status


async def test_damaged_bodies_must_not_be_sent_again(collector: httpx.AsyncClient) -> None:
    for body in (b"", b"plain", snappy(b"not protobuf"), snappy(write_request(series(LABELS, [b"\xff"])))):
        reply = await collector.post("/api/v1/write", content=body, headers=V1)
        assert reply.status_code == 400, reply.text
    reply = await collector.post("/api/v1/write", content=snappy(bytes(2_000_000)), headers=V1)
    assert reply.status_code == 413


def test_the_documented_configuration_names_this_route(app: FastAPI) -> None:
    page = (Path(__file__).parents[4] / "docs" / "telemetry.md").read_text()
    (remote,) = yaml.safe_load(page.split("```yaml")[1].split("```")[0])["remote_write"]
    assert urlsplit(remote["url"]).path in app.openapi()["paths"]
    assert remote["queue_config"] == {"retry_on_http_429": True}


async def test_only_who_may_send_telemetry_writes(viewer: httpx.AsyncClient) -> None:
    assert (await write(viewer, b"")).status_code == 403


async def test_metadata_alone_is_taken(collector: httpx.AsyncClient) -> None:
    reply = await write(collector, b"\x1a\x0c\x08\x01\x12\x08requests")
    assert (reply.status_code, counts(reply)) == (204, ["0", "0", "0"])


async def test_a_database_that_is_busy_is_asked_again(
    app: FastAPI, collector: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plumbline_analysis.points import repository
    from plumbline_common.errors import Unavailable

    async def busy(*_: Any) -> None:
        raise Unavailable("the tables for the days of these points are not there yet; try again")

    monkeypatch.setattr(repository, "copy_numbers", busy)
    reply = await write(collector, write_request(series(LABELS, [sample(1.0, now())])))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def test_a_classic_histogram_is_read_as_one_however_it_was_spread(
    collector: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    end = now() // 60_000 * 60_000 - 60_000
    every = []
    for scrape, (fast, slow, all_of_it) in enumerate([(0, 0, 0), (90, 100, 100), (180, 200, 200)]):
        at = end - 30_000 + scrape * 10_000
        for le, value in (("0.1", fast), ("1", slow), ("+Inf", all_of_it)):
            labels = {"__name__": "wait_seconds_bucket", "instance": "web-1:80", "job": "shop", "le": le}
            every.append(series(labels, [sample(float(value), at)]))
        every.append(
            series({"__name__": "wait_seconds_sum", "instance": "web-1:80", "job": "shop"}, [sample(5.0, at)])
        )
    for turn in range(3):  # as a sender of several shards does it
        assert (await write(collector, write_request(*reversed(every[turn::3])))).status_code == 204
    page = (await viewer.get("/api/v1/signals", params={"metric": "wait_seconds"})).json()
    assert [(each["kind"], each["attributes"]["le"]) for each in page["items"]].count(("bucket", "+Inf")) == 1
    assert page["total"] == 3
    for signal in page["items"]:
        path = f"/api/v1/signals/{signal['id']}/series"
        asked = {"from": f"{stamp(end - 60_000)}", "to": f"{stamp(end)}", "step": "60"}
        (point,) = (await viewer.get(path, params=asked)).json()["points"]
        assert 0.1 <= point["value"] <= 1.0
        asked["aggregation"] = "rate"
        (point,) = (await viewer.get(path, params=asked)).json()["points"]
        assert point["value"] == pytest.approx(200 / 20)


def stamp(at_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000))
