import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvloop
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from plumbline_common import offload, telemetry

TRACE = SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=TraceFlags(1))


# A process imports what it runs by name, and these tests are no module that it could import: hence the built-ins.
FOR_EVER = "import os, pathlib\npathlib.Path({!r}).write_text(str(os.getpid()))\nwhile True: pass"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[offload.ProcessPool]:
    async with offload.ProcessPool(1) as pool:
        yield pool


async def gone(pid: int) -> bool:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.02)
    return False


async def started(note: Path) -> int:
    while not (note.exists() and note.read_text()):
        await asyncio.sleep(0.01)
    return int(note.read_text())


async def test_a_function_runs_in_another_process(pool: offload.ProcessPool) -> None:
    assert await pool.run(pow, 2, 5) == 32
    assert await pool.run(os.getpid) != os.getpid()


async def test_what_it_raises_is_raised_here(pool: offload.ProcessPool) -> None:
    with pytest.raises(ZeroDivisionError, match="negative power"):
        await pool.run(pow, 0, -1)


async def test_a_process_that_dies_fails_its_work_and_is_replaced(pool: offload.ProcessPool) -> None:
    with pytest.raises(offload.WorkerDied, match="-9"):
        await pool.run(signal.raise_signal, signal.SIGKILL)
    assert await pool.run(pow, 2, 3) == 8


async def test_cancelling_the_caller_ends_the_work(pool: offload.ProcessPool, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    task = asyncio.create_task(pool.run(exec, FOR_EVER.format(str(note))))
    pid = await asyncio.wait_for(started(note), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)
    assert await pool.run(pow, 2, 2) == 4


async def test_work_over_its_time_is_ended(pool: offload.ProcessPool, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await pool.run_within(2, exec, FOR_EVER.format(str(note)))
    assert await gone(int(note.read_text()))


async def test_the_trace_goes_along_to_processes_and_threads(pool: offload.ProcessPool) -> None:
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(TRACE)))
    try:
        expected = telemetry.inject()
        assert "00000000000000000000000000001234" in expected["traceparent"]
        assert await pool.run(telemetry.inject) == expected
        assert await offload.in_thread(telemetry.inject) == expected
    finally:
        context.detach(token)


async def test_threads_leave_the_loop_free() -> None:
    ticks = 0
    task = asyncio.ensure_future(offload.in_thread(threading.Event().wait, 0.2))
    while not task.done():
        ticks += 1
        await asyncio.sleep(0.01)
    assert ticks > 5


def test_long_messages_come_whole_on_the_loop_that_services_run_on() -> None:
    """uvloop, unlike the tests' own loop, reads without waiting."""

    async def echoed() -> None:
        async with offload.ProcessPool(1) as pool:
            for size in (100, 20_000, 200_000, 3_000_000):
                assert await pool.run(bytes.upper, b"a" * size) == b"A" * size

    uvloop.run(echoed())


async def test_who_waits_when_the_pool_ends_is_told(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    async with offload.ProcessPool(1) as pool:
        task = asyncio.create_task(pool.run(exec, FOR_EVER.format(str(note))))
        await asyncio.wait_for(started(note), 20)
    with pytest.raises(offload.WorkerDied):
        await asyncio.wait_for(task, 20)


async def test_an_end_of_file_is_an_error_like_others(pool: offload.ProcessPool) -> None:
    with pytest.raises(EOFError, match="of the work"):
        await pool.run(exec, "raise EOFError('of the work')")
    assert await pool.run(pow, 2, 2) == 4


async def test_what_a_function_reports_is_heard_before_its_result(pool: offload.ProcessPool) -> None:
    said: list[object] = []
    told = "from plumbline_common import offload\nfor each in (1, 'two', 3.0): offload.report(each)"
    assert await pool.run_heard(said.append, exec, told) is None
    assert said == [1, "two", 3.0]
    assert await pool.run(pow, 2, 2) == 4
    offload.report("nobody hears it")
