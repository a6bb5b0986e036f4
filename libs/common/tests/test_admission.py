import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse

from plumbline_common import admission
from plumbline_common.admission import Admission, Line


def refuse(scope: Any) -> Any:
    return PlainTextResponse("later", 429)


class Gate:
    """Requests that are at work until it opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.working = 0
        self.most = 0

    async def pass_through(self) -> None:
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await self.opened.wait()
        finally:
            self.working -= 1


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.get("/work")
    async def work() -> str:
        await gate.pass_through()
        return "done"

    @app.get("/elsewhere")
    async def elsewhere() -> str:
        admission.leave()
        admission.leave()
        await gate.pass_through()
        return "done"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            await gate.pass_through()
            yield b"b"

        return StreamingResponse(parts())

    @app.get("/fails")
    async def fails(request: Request) -> None:
        raise RuntimeError("no")

    app.add_middleware(Admission, most=2, always=("/healthz",), refuse=refuse)
    app.get("/healthz")(lambda: "ok")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def statuses(requests: list[Awaitable[httpx.Response]]) -> list[int]:
    return [reply.status_code for reply in await asyncio.gather(*requests)]


async def test_so_many_work_at_once_and_who_waits_in_vain_is_refused(client: Any, gate: Gate) -> None:
    asked = [asyncio.create_task(client.get("/work")) for _ in range(6)]
    refused, under_way = await asyncio.wait(asked, timeout=admission.PATIENCE + 0.4)
    assert [task.result().status_code for task in refused] == [429] * 4
    assert gate.most == 2
    assert (await client.get("/healthz")).status_code == 200
    gate.opened.set()
    assert await statuses(list(under_way)) == [200, 200]
    assert await statuses([client.get("/work") for _ in range(20)]) == [200] * 20


async def test_the_line_is_in_order_and_goes_on_when_a_turn_ends(client: Any, gate: Gate) -> None:
    asked = [asyncio.create_task(client.get("/work")) for _ in range(5)]
    await asyncio.sleep(0.05)
    gate.opened.set()
    assert await statuses(list(asked)) == [200] * 5
    assert gate.most == 2


@pytest.mark.parametrize("path", ["/elsewhere", "/stream"])
async def test_who_waits_for_somebody_else_and_who_streams_hold_nobody_up(client: Any, gate: Gate, path: str) -> None:
    waiting = [asyncio.create_task(client.get(path)) for _ in range(4)]
    while gate.working < 4:
        await asyncio.sleep(0.001)
    assert (await client.get("/fails")).status_code == 500
    gate.opened.set()
    assert await statuses(list(waiting)) == [200] * 4


async def test_a_failure_and_a_caller_that_goes_end_their_turn(client: Any, gate: Gate) -> None:
    assert await statuses([client.get("/fails") for _ in range(10)]) == [500] * 10
    gone = [asyncio.create_task(client.get("/work")) for _ in range(4)]
    await asyncio.sleep(0.02)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    gate.opened.set()
    assert await statuses([client.get("/work") for _ in range(10)]) == [200] * 10


async def test_nobody_waits_behind_the_longest_line() -> None:
    line = Line(1, 2)
    assert await line.enter()
    waiting = [asyncio.create_task(line.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not await line.enter()
    line.leave()
    line.leave()
    assert await asyncio.gather(*waiting) == [True, True]


@given(steps=st.lists(st.sampled_from(["enter", "leave", "cancel", "turn"]), max_size=60))
def test_as_many_turns_as_ended_can_begin_again(steps: list[str]) -> None:
    async def run() -> None:
        line = Line(2, 8)
        asked: list[asyncio.Task[bool]] = []
        held = 0

        async def settle() -> int:
            await asyncio.sleep(0)
            done = [task for task in asked if task.done()]
            for task in done:
                asked.remove(task)
            return sum(not task.cancelled() and task.result() for task in done)

        act: dict[str, Callable[[], object]] = {
            "enter": lambda: asked.append(asyncio.create_task(line.enter())),
            "cancel": lambda: asked and asked[-1].cancel(),
        }
        for step in steps:
            if step == "leave" and held:
                line.leave()
                held -= 1
            elif step in act:
                act[step]()
            elif step == "turn":
                held += await settle()
                assert held <= 2
        for task in asked:
            task.cancel()
        for _ in range(3):
            held += await settle()
        for _ in range(held):
            line.leave()
        assert [await line.enter(), await line.enter()] == [True, True]
        full = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        assert not full.done()
        full.cancel()

    asyncio.run(run())


async def test_as_many_work_at_once_as_do_not_hinder_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WHILE", 0.0)
    line = Line(16, 1)

    async def size(seconds: float, *, crowded: bool) -> int:
        if crowded:
            held = [await line.enter() for _ in range(line.size)]
            waits = asyncio.create_task(line.enter())
            await asyncio.sleep(0)
            for _ in held:
                line.leave()
            assert await waits
            line.leave()
        line.took(seconds)
        return line.size

    slow, quick = admission.LONG + 0.1, admission.LONG / 2
    assert await size(slow, crowded=False) == 16
    assert [await size(slow, crowded=True) for _ in range(3)] == [8, 4, 4]
    assert await size(quick, crowded=False) == 4
    assert [await size(quick, crowded=True) for _ in range(2)] == [5, 6]

    held = [await line.enter() for _ in range(6)]
    seventh = asyncio.create_task(line.enter())
    await asyncio.sleep(0)
    line.took(slow)
    assert line.size == admission.FEWEST
    for _ in held[:2]:
        line.leave()
    await asyncio.sleep(0)
    assert not seventh.done()
    line.leave()
    assert await seventh


async def test_one_quick_success_in_a_while_shows_that_the_others_are_slow_by_themselves() -> None:
    line = Line(4, 1)
    assert [await line.enter() for _ in range(4)] == [True] * 4
    line.took(10.0)
    waits = asyncio.create_task(line.enter())
    await asyncio.sleep(0)
    for seconds in (10.0, admission.LONG / 2, 10.0):
        line.took(seconds)
    await asyncio.sleep(admission.WHILE + 0.01)
    line.took(10.0)
    assert line.size == 4
    line.leave()
    assert await waits
