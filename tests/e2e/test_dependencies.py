"""Each dependency stopped under the running suite: it answers as docs/dependencies.md says, and all comes back."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.embedded("its processes are children of the tests"),
]
PAGE = Path(__file__).parents[2] / "docs" / "dependencies.md"
RECOVERED_SECONDS = 15.0
"""What the page promises."""
START = datetime(2026, 5, 1, tzinfo=UTC)
Asked = Mapping[str, Callable[[], Awaitable[httpx.Response]]]


def documented() -> dict[str, dict[str, str]]:
    """The table of answers: by what is down, then by what is asked."""
    section = PAGE.read_text().split("### What is answered\n")[1].split("\n#")[0]
    rows = [
        [cell.strip().strip() for cell in line.strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    header, _, *rows = rows
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


TABLE = documented()


@pytest.fixture
async def asked(caller: Any, stack: Any) -> AsyncIterator[Asked]:
    """One endpoint of each class, through the gateway, and the readiness of each service from beside it."""
    editor, ingest = caller("editor", "operator"), caller("ingest")
    point = {"metric": "dependencies.load", "value": 1.0, "time": datetime.now(UTC).isoformat()}
    (await ingest.post("/api/v1/telemetry/points", json={"points": [point]})).raise_for_status()
    listed = await editor.get("/api/v1/signals", params={"metric": "dependencies.load"})
    signal = listed.json()["items"][0]["id"]
    backtest = {
        "points": [{"time": (START + timedelta(minutes=each)).isoformat(), "value": each % 7} for each in range(60)],
        "detectors": [{"name": "up", "direction": "up", "min_relative": 0.3}],
    }
    words = {"query": "dependency", "legs": ["lexical"]}

    async def ready() -> httpx.Response:
        answers = await asyncio.gather(
            *(beside.get(f"{stack.urls[name]}/readyz") for name in ("requirements", "search", "analysis")),
            return_exceptions=True,
        )
        there = [each for each in answers if isinstance(each, httpx.Response)]
        return max(there, key=lambda each: (each.status_code, each.json()["status"] != "ok"))

    async with httpx.AsyncClient(trust_env=False, timeout=10) as beside:
        yield {
            "documents": lambda: editor.get("/openapi.json"),
            "requirements, read": lambda: editor.get("/api/v1/requirements", params={"limit": 1}),
            "requirements, write": lambda: editor.post("/api/v1/requirements", json={"title": "It stands"}),
            "search": lambda: editor.post("/api/v1/search", json=words),
            "document, write": lambda: editor.put(
                "/api/v1/documents/runbook/dependencies", json={"title": "A dependency is down", "body": "Wait."}
            ),
            "analysis, read": lambda: editor.get("/api/v1/anomalies", params={"limit": 1}),
            "telemetry": lambda: ingest.post("/api/v1/telemetry/points", json={"points": [point]}),
            "job": lambda: editor.post(f"/api/v1/signals/{signal}/backtests", json=backtest),
            "`readyz`": ready,
        }


async def answers(asked: Asked) -> dict[str, str]:
    """As the table has them: `2xx`, `2xx degraded`, the status of a refusal, or that nothing listens."""

    async def answer(ask: Callable[[], Awaitable[httpx.Response]]) -> str:
        try:
            response = await ask()
        except httpx.TransportError:
            return "none"
        status = "2xx" if response.is_success else str(response.status_code)
        if status == "503" and "checks" not in response.text:
            assert response.headers["retry-after"] == "1"
            assert response.json()["type"] == "urn:plumbline:problem:unavailable"
        return f"{status} degraded" if '"degraded"' in response.text else status

    return dict(zip(asked, await asyncio.gather(*(answer(ask) for ask in asked.values())), strict=True))


async def settled(asked: Asked, wanted: dict[str, str], seconds: float) -> dict[str, str]:
    """The answers once they are what is wanted, else the last ones within `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := await answers(asked)) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("down", TABLE)
async def test_the_answers_are_those_of_the_page_and_all_comes_back(asked: Asked, stack: Any, down: str) -> None:
    child = stack.child(re.findall("`(.+)`", down)[0])
    whole = dict.fromkeys(asked, "2xx")
    assert await settled(asked, whole, RECOVERED_SECONDS) == whole
    await child.stop()
    try:
        # The first requests may meet connections that were cut.
        assert await settled(asked, TABLE[down], 10) == TABLE[down]
        assert await answers(asked) == TABLE[down]
    finally:
        await child.start()
    assert await settled(asked, whole, RECOVERED_SECONDS) == whole


@pytest.mark.parametrize("down", ["nats", "search"])
async def test_what_is_written_meanwhile_is_found_afterwards(caller: Any, stack: Any, until: Any, down: str) -> None:
    editor = caller("editor")
    service = f"written-without-{down}"
    child = stack.child(down)
    await child.stop()
    try:
        written = await editor.post("/api/v1/requirements", json={"title": "Found afterwards", "service": service})
        assert written.status_code == 201
    finally:
        await child.start()

    async def found() -> bool:
        answer = await editor.post("/api/v1/search", json={"query": "found afterwards", "service": service})
        return [each["entity_id"] for each in answer.json().get("items", ())] == [written.json()["id"]]

    await until(found, RECOVERED_SECONDS, "the requirement is found")


async def test_a_job_that_was_asked_for_meanwhile_is_done_afterwards(asked: Asked, caller: Any, stack: Any) -> None:
    viewer, child = caller("viewer"), stack.child("analysis-worker")
    await child.stop()
    try:
        location = (await asked["job"]()).headers["location"]
        assert (await viewer.get(location)).json()["state"] == "queued"
    finally:
        await child.start()
    async with asyncio.timeout(RECOVERED_SECONDS):
        while (await viewer.get(location)).json()["state"] != "succeeded":
            await asyncio.sleep(0.1)
