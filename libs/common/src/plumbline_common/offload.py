"""Work that must not run on the event loop: blocking calls on threads, CPU-heavy functions in processes."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, Self, TypeVar

from opentelemetry import context as otel_context
from starlette.concurrency import run_in_threadpool

from plumbline_common import telemetry
from plumbline_common.errors import Unavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

in_thread = run_in_threadpool
"""`await in_thread(function, *args)`: for SDKs that block, such as boto3. The trace context goes along."""


class Turns:
    """Lets others have their turn of the event loop where one request has much to do: `await turns()` in its loop."""

    def __init__(self, seconds: float = 0.005) -> None:
        self._seconds = seconds
        self._since = time.perf_counter()

    async def __call__(self) -> None:
        if time.perf_counter() - self._since > self._seconds:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


class WorkerDied(Unavailable):
    slug = "worker-died"
    title = "The process that did this work ended in the middle of it"


class ProcessPool:
    """Processes for CPU-heavy functions: `async with ProcessPool(2) as pool: await pool.run(function, *args)`.

    Functions, arguments and results are pickled. `initializer` runs once in each process. Processes end with their
    parent, however it ends. Each is an executor of its own, so that one can be killed without the others.
    """

    def __init__(self, workers: int, initializer: Callable[[], object] | None = None) -> None:
        self._workers = workers
        self._initializer = initializer
        self._idle: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()
        self._all: set[ProcessPoolExecutor] = set()

    async def __aenter__(self) -> Self:
        for _ in range(self._workers):
            self._idle.put_nowait(self._new())
        return self

    async def __aexit__(self, *_: object) -> None:
        for executor in list(self._all):
            self._end(executor)
            await asyncio.to_thread(executor.shutdown)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function. Raises what it raised, and `WorkerDied` where its process died.

        Cancelling the caller ends the work itself: its process is killed and another takes its place.
        """
        return await self.run_within(None, function, *args, **kwargs)

    async def run_within(
        self, seconds: float | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`; after `seconds` of work the process is killed and `TimeoutError` raised."""
        executor = await self._idle.get()
        processes: list[Any] = []
        try:
            future = executor.submit(_traced, telemetry.inject(), function, args, kwargs)
            processes += _processes(executor)
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            executor = self._replaced(executor)
            codes = [await _exit_code(process) for process in processes]
            raise WorkerDied(f"it ended with exit code {codes}") from error
        except (asyncio.CancelledError, TimeoutError):
            executor = self._replaced(executor)
            raise
        finally:
            self._idle.put_nowait(executor)

    def _new(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(
            max_workers=1,
            # A fork would take over locks that other threads hold.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), self._initializer),
        )
        self._all.add(executor)
        return executor

    def _replaced(self, executor: ProcessPoolExecutor) -> ProcessPoolExecutor:
        self._end(executor)
        self._all.discard(executor)
        return self._new()

    def _end(self, executor: ProcessPoolExecutor) -> None:
        processes = _processes(executor)
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


def _processes(executor: ProcessPoolExecutor) -> list[Any]:
    # Python 3.14 has kill_workers(); before it, the executor's own table is the way to them.
    return list((getattr(executor, "_processes", None) or {}).values())


async def _exit_code(process: Any) -> int | None:
    """Its pipe closes before it can be waited for, and the executor's thread waits for it too."""
    for _ in range(100):
        if process.exitcode is not None:
            break
        await asyncio.sleep(0.01)
    return process.exitcode  # type: ignore[no-any-return]


def _begin(parent: int, initializer: Callable[[], object] | None) -> None:
    # Ctrl-C goes to the parent, which ends its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
    if initializer is not None:
        initializer()


def _traced(
    carrier: Mapping[str, str], function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    token = otel_context.attach(telemetry.extract(carrier))
    try:
        return function(*args, **kwargs)
    finally:
        otel_context.detach(token)
