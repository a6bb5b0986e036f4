"""Work that must not run on the event loop: blocking calls on threads, CPU-heavy functions in processes."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as PoolTimeout
from typing import Any, ParamSpec, Self, TypeVar

from opentelemetry import context as otel_context
from pebble import ProcessExpired
from pebble import ProcessPool as PebblePool
from starlette.concurrency import run_in_threadpool

from plumbline_common import telemetry
from plumbline_common.errors import Unavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

in_thread = run_in_threadpool
"""`await in_thread(function, *args)`: for SDKs that block, such as boto3. The trace context goes along."""


class WorkerDied(Unavailable):
    slug = "worker-died"
    title = "The process that did this work ended in the middle of it"


class ProcessPool:
    """Processes for CPU-heavy functions: `async with ProcessPool(2) as pool: await pool.run(function, *args)`.

    Functions, arguments and results are pickled. `initializer` runs once in each process. Processes end with their
    parent, however it ends.
    """

    def __init__(self, workers: int, initializer: Callable[[], object] | None = None) -> None:
        self._workers = workers
        self._initializer = initializer
        self._pool: PebblePool | None = None

    async def __aenter__(self) -> Self:
        self._pool = PebblePool(
            max_workers=self._workers,
            # A fork would take over locks that other threads hold.
            context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), self._initializer),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            await asyncio.to_thread(self._pool.join)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function. Raises what it raised, and `WorkerDied` where its process died.

        Cancelling the caller ends the work itself: its process is killed and another takes its place.
        """
        return await self.run_within(None, function, *args, **kwargs)

    async def run_within(
        self, seconds: float | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`; after `seconds` of work the process is killed and `TimeoutError` raised."""
        if self._pool is None:
            raise RuntimeError("the pool is not entered")
        future = self._pool.schedule(_traced, args=(telemetry.inject(), function, args, kwargs), timeout=seconds)
        try:
            result: T = await asyncio.wrap_future(future)
        except PoolTimeout:
            raise TimeoutError(f"the work took longer than {seconds} s") from None
        except ProcessExpired as error:
            raise WorkerDied(f"it ended with exit code {error.exitcode}") from error
        return result


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
