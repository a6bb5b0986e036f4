import time
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from plumbline_analysis.points import limits, repository
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.points.limits import Quota
from plumbline_analysis.sources import history
from plumbline_analysis.uploads import service
from plumbline_common import db
from plumbline_common.errors import Unavailable

PATH = "/api/v1/telemetry/uploads"
OLD = int(time.time()) // 60 * 60 - 20 * 86_400
"""Older than what usually comes is taken."""


async def upload(client: httpx.AsyncClient, body: str, kind: str = "text/csv", **query: str) -> list[Any]:
    reply = await client.post(PATH, content=body.encode(), headers={"Content-Type": kind}, params=query)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson"), reply.text
    return [orjson.loads(line) for line in reply.content.splitlines()]


async def stored(sessions: db.Sessions) -> list[float]:
    async with sessions() as session:
        return list(await session.scalars(text("SELECT value FROM number_points ORDER BY signal, ts")))


def rows(count: int, start: int = OLD) -> str:
    return "timestamp,value\n" + "".join(f"{start + n},{n}\n" for n in range(count))


async def test_a_file_is_stored_slice_by_slice_and_once(
    caller: Any, viewer: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SLICE", 3)
    body = rows(5)
    for _ in range(2):
        answer = await upload(caller("operator"), body, service="shop", metric="depth", unit="{item}")
        assert answer == [
            {"bytes": len("timestamp,value\n") + 3 * 13, "stored": 3, "refused": 0},
            {"bytes": len(body), "stored": 5, "refused": 0},
            {"totals": {"bytes": len(body), "stored": 5, "refused": 0}, "unlisted": 0},
        ]
    assert await stored(sessions) == [0.0, 1.0, 2.0, 3.0, 4.0]
    (signal,) = (await viewer.get("/api/v1/signals")).json()["items"]
    assert (signal["source"], signal["service"], signal["metric"], signal["unit"]) == (
        "upload",
        "shop",
        "depth",
        "{item}",
    )


async def test_lines_that_are_refused_are_named(
    app: FastAPI, collector: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.state.directory = Directory(replace(limits.NONE, series_per_metric=1))
    lines = [
        {"timestamp": OLD, "value": 1, "metric": "depth"},
        {"timestamp": OLD, "value": 2, "metric": "depth", "attributes": {"queue": "a"}},
        {"timestamp": "soon", "value": 3, "metric": "depth"},
        {"timestamp": OLD, "value": 4},
    ]
    body = "\n".join(orjson.dumps(line).decode() for line in lines)
    answer = await upload(collector, body, "application/x-ndjson")
    assert answer[:3] == [
        {"line": 2, "detail": "the metric has 1 series in this service, and may have no more"},
        {"line": 3, "detail": "timestamp 'soon' is neither ISO 8601 nor a number since 1970"},
        {"line": 4, "detail": "the metric has no name"},
    ]
    assert answer[-1]["totals"] == {"bytes": len(body), "stored": 1, "refused": 3}
    assert await stored(sessions) == [1.0]
    monkeypatch.setattr(service, "MAX_LISTED", 1)
    answer = await upload(collector, body, "application/x-ndjson")
    assert (len(answer), answer[-1]["unlisted"]) == (3, 2)


async def test_an_upload_waits_where_the_service_sent_enough(
    app: FastAPI, collector: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 59.995

    class Hurried(Quota):
        @property
        def seconds_left(self) -> int:
            nonlocal now
            now += 60
            return 0

    few = replace(limits.NONE, points_per_minute=3)
    app.state.directory = Directory(few)
    app.state.directory.quota = Hurried(few, lambda: now)
    monkeypatch.setattr(history, "SLICE", 3)
    assert (await upload(collector, rows(5), metric="depth"))[-1]["totals"]["stored"] == 5
    assert len(await stored(sessions)) == 5


async def test_what_was_stored_before_a_failure_is_told(
    app: FastAPI, collector: httpx.AsyncClient, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SLICE", 3)
    copy, calls = repository.copy_numbers, 0

    async def failing(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unavailable("other requests keep storing the same points; try again")
        await copy(*args)

    monkeypatch.setattr(repository, "copy_numbers", failing)
    answer = await upload(collector, rows(5), metric="depth")
    assert (answer[-1]["totals"]["stored"], answer[-1]["problem"]["status"]) == (3, 503)
    assert await stored(sessions) == [0.0, 1.0, 2.0]


async def test_what_is_no_file_of_history_is_refused_before_anything_is_stored(collector: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "text/csv"}
    reply = await collector.post(PATH, content=b"time,value\n1,2\n", headers=headers)
    assert (reply.status_code, reply.json()["errors"][0]["detail"]) == (422, "the header has no column 'timestamp'")
    assert (await collector.post(PATH, json={})).status_code == 415
    reply = await collector.post(PATH, content=b"", headers=headers, params={"kind": "histogram"})
    assert (reply.status_code, reply.json()["errors"][0]["parameter"]) == (422, "kind")
