import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from plumbline_stack.children import Child, ChildSpec
from plumbline_stack.guard import Guard
from plumbline_stack.processes import Command, NotReady

FOREVER = "import time; print('up', flush=True); time.sleep(60)"


class Reports:
    """What a child reported, and waiting for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def __call__(self, step: str, state: str, detail: str) -> None:
        self.seen.append((state, detail))
        self._news.set()

    async def until(self, state: str, times: int) -> None:
        async with asyncio.timeout(20):
            while [each for each, _ in self.seen].count(state) < times:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest_asyncio.fixture
async def guard() -> AsyncIterator[Guard]:
    async with Guard() as running:
        yield running


async def always() -> bool:
    return True


def child_of(spec: ChildSpec, folder: Path, guard: Guard, reports: Reports) -> Child:
    return Child(spec, folder / "log", guard, reports, lambda: None)


def python(code: str) -> Command:
    return Command([sys.executable, "-c", code])


async def test_a_child_that_keeps_dying_is_tried_again_more_and_more_slowly(
    tmp_path: Path, guard: Guard, reports: Reports
) -> None:
    codes = [FOREVER, "raise SystemExit(3)", "raise SystemExit(3)", FOREVER]
    begun: list[str] = []

    def next_code() -> Command:
        begun.append(codes[len(begun)])
        return python(begun[-1])

    async def lives() -> bool:
        return begun[-1] is FOREVER

    spec = ChildSpec("probe", next_code, lives)
    child = child_of(spec, tmp_path, guard, reports)
    await child.start()
    assert child.state.pid is not None
    asyncio.get_running_loop().call_soon(child._process.kill)  # type: ignore[union-attr]
    await reports.until("ready", 2)
    delays = [detail.rpartition("again in ")[2] for state, detail in reports.seen if state == "restarting"]
    assert delays == ["0.2 s", "0.4 s", "0.8 s"]
    assert child.state.restarts == 3
    assert "exit code 3" in (child.state.last_exit or "")
    await child.stop()
    assert child.state.status == "stopped"


async def test_a_child_is_replaced_when_it_is_old(tmp_path: Path, guard: Guard, reports: Reports) -> None:
    child = child_of(ChildSpec("probe", lambda: python(FOREVER), always, max_age=0.3), tmp_path, guard, reports)
    await child.start()
    first = child.state.pid
    await reports.until("ready", 2)
    assert child.state.pid != first
    assert child.state.last_exit == "it is replaced before its token expires"
    await child.stop()


async def test_a_child_that_cannot_start_gives_the_end_of_its_log(
    tmp_path: Path, guard: Guard, reports: Reports
) -> None:
    async def never() -> bool:
        return False

    child = child_of(ChildSpec("probe", lambda: python("1/0"), never), tmp_path, guard, reports)
    with pytest.raises(NotReady, match="ZeroDivisionError"):
        await child.start()
    assert [state for state, _ in reports.seen] == ["starting", "failed"]
    assert child.state.pid is None


async def test_stopping_what_never_ran_does_nothing(tmp_path: Path, guard: Guard, reports: Reports) -> None:
    child = child_of(ChildSpec("probe", lambda: python(FOREVER), always), tmp_path, guard, reports)
    await child.stop()
    assert reports.seen == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_child_that_ends_as_it_is_stopped_stays_stopped(
    tmp_path: Path, guard: Guard, reports: Reports, turns: int
) -> None:
    child = child_of(ChildSpec("probe", lambda: python(FOREVER), always, max_age=60), tmp_path, guard, reports)
    await child.start()
    process = child._process
    assert process is not None
    process.kill()
    while process.returncode is None:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await child.stop()
    assert child.state.status == "stopped"
    assert child.state.pid is None
