import asyncio
import inspect
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from plumbline_common import telemetry
from plumbline_common.watchdog import Block, Watchdog, _Queue


def sleep_in_a_helper() -> None:
    time.sleep(0.3)  # noqa: TID251 - the block that is looked for


def count_on_the_processor() -> int:
    total, end = 0, time.thread_time() + 0.3
    while time.thread_time() < end:
        total += 1
    return total


def match_without_end() -> None:
    """One call of C after another, each keeps the interpreter to itself: the watchdog sees it only in between."""
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        re.match(r"(a+)+$", "a" * 21 + "b")


def lines_of(function: Callable[[], object]) -> range:
    source, first = inspect.getsourcelines(function)
    return range(first, first + len(source))


async def blocks_of(function: Callable[[], object], threshold: float = 0.1) -> list[Block]:
    async with Watchdog(threshold) as watchdog:
        await asyncio.sleep(0.2)
        function()
        await asyncio.sleep(0.2)
    return watchdog.blocks


@pytest.mark.parametrize("function", [sleep_in_a_helper, count_on_the_processor, match_without_end])
async def test_the_line_that_held_the_loop_is_named(function: Callable[[], object]) -> None:
    [block] = await blocks_of(function)
    path, line = block.place.rsplit(":", 1)
    assert Path(path) == Path(__file__)
    assert int(line) in lines_of(function)
    assert block.seconds > 0.2


async def test_a_place_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    def twice() -> None:
        for _ in range(2):
            time.sleep(0.15)  # noqa: TID251

    async with Watchdog(0.05) as watchdog:
        for _ in range(3):
            await asyncio.sleep(0.1)
            twice()
            await asyncio.sleep(0.1)
    assert len(watchdog.blocks) == 1
    assert len([record for record in caplog.records if "was blocked" in record.message]) == 1


async def test_a_loop_that_only_waits_is_not_blamed() -> None:
    async with Watchdog(0.05) as watchdog:
        await asyncio.sleep(0.5)
    assert watchdog.blocks == []


async def test_a_loop_that_waits_for_a_processor_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All the time but what the kernel says that the thread was kept waiting."""
    kept_waiting = iter(range(10_000))
    monkeypatch.setattr("plumbline_common.watchdog._Queue.waited", lambda self: next(kept_waiting) * 0.3)
    assert await blocks_of(sleep_in_a_helper) == []


async def test_the_wait_for_a_processor_is_read_where_the_kernel_tells_it() -> None:
    queue = _Queue()
    assert queue.waited() == 0.0
    queue.open(threading.get_native_id())
    assert queue.waited() >= 0.0
    queue.close()
    queue.open(-1)
    assert queue.waited() == 0.0


async def test_the_span_at_work_tells_of_the_block() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    async with Watchdog(0.05):
        await asyncio.sleep(0.1)
        with tracer.start_as_current_span("request") as span:
            telemetry.remember_span()
            sleep_in_a_helper()
        await asyncio.sleep(0.1)
    [event] = span.events  # type: ignore[attr-defined]
    assert event.name == "event_loop.blocked"
    assert str(event.attributes["code.location"]).startswith(__file__)
