"""A job through the gateway: asked for, followed by its stream, done by the worker of the stack."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

START = datetime(2026, 5, 1, tzinfo=UTC)


def points() -> list[dict[str, Any]]:
    """Five hours of calm minutes, and ten that are far too high."""
    values = [100 + number % 7 for number in range(300)] + [200] * 10 + [100 + number % 7 for number in range(30)]
    return [
        {"time": (START + timedelta(minutes=number)).isoformat(), "value": value}
        for number, value in enumerate(values)
    ]


@pytest.fixture
async def signal(caller: Any) -> str:
    """Any: its own points are not asked for."""
    sent = {"metric": "jobs.load", "value": 1.0, "time": datetime.now(UTC).isoformat()}
    (await caller("ingest").post("/api/v1/telemetry/points", json={"points": [sent]})).raise_for_status()
    listed = await caller("viewer").get("/api/v1/signals", params={"metric": "jobs.load"})
    return str(listed.json()["items"][0]["id"])


async def test_a_backtest_is_followed_to_its_result(caller: Any, signal: str) -> None:
    editor: httpx.AsyncClient = caller("editor")
    asked = {
        "points": points(),
        "detectors": [{"name": "up", "direction": "up", "min_relative": 0.3}],
        "windows": [
            {"start": (START + timedelta(hours=5)).isoformat(), "end": (START + timedelta(hours=5.2)).isoformat()}
        ],
    }
    response = await editor.post(f"/api/v1/signals/{signal}/backtests", json=asked)
    assert response.status_code == 202, response.text
    location = response.headers["location"]
    async with editor.stream("GET", f"{location}/events", timeout=60) as stream:
        told = [line.removeprefix("data: ") async for line in stream.aiter_lines() if line.startswith("data: ")]
    assert json.loads(told[-1])["state"] == "succeeded"
    result = (await editor.get(location)).json()["result"]
    (tried,) = result["detectors"]
    assert (tried["alarms_total"], tried["quality"]["recall"], tried["quality"]["precision"]) == (1, 1.0, 1.0)
