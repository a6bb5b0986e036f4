"""The event stream through the gateway: live, and over the death of the service."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

PATH = "/api/v1/requirements"
STREAM = "/api/v1/events/stream"


class Browser:
    """An EventSource: reads, and when the stream ends connects again with the last id, until it is closed."""

    def __init__(self, client: httpx.AsyncClient, **query: str) -> None:
        self._client = client
        self._query = query
        self.last_id: str | None = None
        self.events: list[tuple[int, str, Any]] = []
        self.connections = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                headers = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
                async with self._client.stream("GET", STREAM, headers=headers, params=self._query) as response:
                    if response.status_code == 200:
                        self.connections += 1
                        await self._read(response)
            await asyncio.sleep(0.2)

    async def _read(self, response: httpx.Response) -> None:
        name, data = "", None
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif not line and name:
                self.events.append((int(self.last_id or 0), name, data))
                name = ""

    def subjects(self) -> list[str]:
        return [data["subject"] for _, _, data in self.events]


@contextlib.asynccontextmanager
async def browsing(client: httpx.AsyncClient, **query: str) -> AsyncIterator[Browser]:
    browser = Browser(client, **query)
    task = asyncio.create_task(browser.run())
    async with asyncio.timeout(20):
        while browser.last_id is None:
            await asyncio.sleep(0.05)
    yield browser
    task.cancel()
    await asyncio.wait([task])


async def test_a_change_reaches_who_watches(caller: Any, until: Any) -> None:
    editor = caller("editor")
    async with browsing(caller("viewer"), service="streamed") as browser:
        made = (await editor.post(PATH, json={"title": "Streamed", "service": "streamed"})).json()

        async def told() -> bool:
            return made["id"] in browser.subjects()

        await until(told, 5, "the creation arrives")
        [(_, name, event)] = [each for each in browser.events if each[2]["subject"] == made["id"]]
        assert name == "requirements.requirement.created"
        assert event["type"] == "plumbline.requirements.requirement.created.v1"
        assert event["data"]["requirement"]["title"] == "Streamed"


@pytest.mark.chaos
async def test_nothing_is_lost_or_doubled_when_the_service_is_killed(caller: Any, stack: Any, until: Any) -> None:
    editor = caller("editor")
    written: list[str] = []
    writing = True

    async def write() -> None:
        while writing:
            with contextlib.suppress(httpx.HTTPError):
                response = await editor.post(PATH, json={"title": "Outlives a death", "service": "outliving"})
                if response.status_code == 201:
                    written.append(response.json()["id"])
            await asyncio.sleep(0.05)

    async with browsing(caller("viewer")) as browser, asyncio.TaskGroup() as group:
        writer = group.create_task(write())
        for ended_by in (signal.SIGKILL, signal.SIGTERM):
            child = stack.child("requirements")
            pid, before, connections = child.state.pid, len(written), browser.connections

            async def wrote(more: int = before + 10) -> bool:
                return len(written) >= more

            async def back(pid: int = pid, connections: int = connections) -> bool:
                state = stack.child("requirements").state
                return state.status == "running" and state.pid != pid and browser.connections > connections

            await until(wrote, 20, "ten requirements are written")
            os.kill(pid, ended_by)
            await until(back, 40, "the service is back, and the stream with it")
        writing = False
        await writer

        async def all_told() -> bool:
            return set(written) <= set(browser.subjects())

        await until(all_told, 20, "every requirement that was written is told")
    positions = [position for position, _, _ in browser.events]
    assert positions == list(range(positions[0], positions[-1] + 1)), "each position once, in order"
    assert not [name for _, name, _ in browser.events if name == "reset"]
    assert len([each for each in browser.subjects() if each in set(written)]) == len(written)


async def test_a_stream_needs_a_token_and_a_sound_id(caller: Any) -> None:
    assert (await caller(token="").get(STREAM)).status_code == 401
    assert (await caller("ingest").get(STREAM)).status_code == 403
    response = await caller("viewer").get(STREAM, headers={"Last-Event-ID": "yesterday"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
