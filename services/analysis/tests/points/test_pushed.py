import json
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from plumbline_common import db


async def values(sessions: db.Sessions) -> list[float]:
    async with sessions() as session:
        return list(await session.scalars(text("SELECT value FROM number_points ORDER BY signal, ts")))


def pushed(**members: Any) -> dict[str, Any]:
    given = {
        "metric": "queue.length",
        "unit": "{item}",
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
    }
    return given | {"value": 4.5, "attributes": {"queue": "mail"}, "resource": {"service.name": "shop"}} | members


async def test_pushed_measurements_are_stored(caller: Any, viewer: httpx.AsyncClient, sessions: db.Sessions) -> None:
    point = pushed()
    for role in ("operator", "ingest"):
        reply = await caller(role).post("/api/v1/telemetry/points", json={"points": [point]})
        assert (reply.status_code, reply.json()) == (200, {"accepted": 1, "rejected": []})
    assert await values(sessions) == [4.5]
    (signal,) = (await viewer.get("/api/v1/signals")).json()["items"]
    assert (signal["source"], signal["service"], signal["kind"]) == ("push", "shop", "gauge")
    assert signal["attributes"] == {"queue": "mail", "service.name": "shop"}


async def test_each_pushed_point_that_is_not_taken_is_named(caller: Any, sessions: db.Sessions) -> None:
    points = [pushed(), pushed(time="2001-01-01T00:00:00Z"), pushed(time="2999-01-01T00:00:00+02:00")]
    reply = await caller("operator").post("/api/v1/telemetry/points", json={"points": points})
    assert reply.json()["accepted"] == 1
    assert [each["index"] for each in reply.json()["rejected"]] == [1, 2]
    assert "past" in reply.json()["rejected"][0]["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"value": "many"}, "/points/0/value"),
        ({"value": None}, "/points/0/value"),
        ({"time": "yesterday"}, "/points/0/time"),
        ({"time": "2026-01-01T00:00:00"}, "/points/0/time"),
        ({"metric": ""}, "/points/0/metric"),
        ({"metric": "a\x00b"}, "/points/0/metric"),
        ({"metric": "x" * 10_000}, "/points/0/metric"),
        ({"attributes": {"a": 1}}, "/points/0/attributes/a"),
        ({"surprise": 1}, "/points/0/surprise"),
    ],
)
async def test_malformed_measurements_are_refused_whole(
    caller: Any, sessions: db.Sessions, change: dict[str, Any], pointer: str
) -> None:
    reply = await caller("operator").post("/api/v1/telemetry/points", json={"points": [pushed(**change), pushed()]})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer
    assert await values(sessions) == []


@pytest.mark.parametrize("word", ["NaN", "Infinity", "1e999"])
async def test_what_is_no_number_is_refused(caller: Any, word: str) -> None:
    body = json.dumps({"points": [pushed()]}).replace("4.5", word)
    reply = await caller("operator").post(
        "/api/v1/telemetry/points", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422
