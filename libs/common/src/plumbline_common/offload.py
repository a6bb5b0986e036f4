"""Work that must not run on the event loop: blocking calls on threads, CPU-heavy functions in processes."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
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
    title = "The process that was to do this work has ended"


class ProcessPool:
    """Processes for CPU-heavy functions: `async with ProcessPool(2) as pool: await pool.run(function, *args)`.

    Functions, arguments and results are pickled. `initializer` runs once in each process. Processes end with their
    parent, however it ends.
    """

    def __init__(self, workers: int, initializer: Callable[[], object] | None = None) -> None:
        self._workers = workers
        self._initializer = initializer
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._all: set[_Worker] = set()

    async def __aenter__(self) -> Self:
        for _ in range(self._workers):
            self._idle.put_nowait(self._new())
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in list(self._all):
            worker.kill()
            await asyncio.to_thread(worker.process.join)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function. Raises what it raised, and `WorkerDied` where its process died.

        Cancelling the caller ends the work itself: its process is killed and another takes its place.
        """
        return await self.run_within(None, function, *args, **kwargs)

    async def run_within(
        self, seconds: float | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`; after `seconds` of work the process is killed and `TimeoutError` raised."""
        call = pickle.dumps((telemetry.inject(), function, args, kwargs))
        return await self._run(call, seconds, _unheard)  # type: ignore[no-any-return]

    async def run_heard(
        self, heard: Callable[[Any], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`, for arguments of any size; `heard` is called with all that the function says by `report`."""
        call = await in_thread(pickle.dumps, (telemetry.inject(), function, args, kwargs))
        return await self._run(call, None, heard)  # type: ignore[no-any-return]

    async def _run(self, call: bytes, seconds: float | None, heard: Callable[[Any], None]) -> Any:
        worker = await self._idle.get()
        try:
            async with asyncio.timeout(seconds):
                succeeded, outcome = await worker.answer(call, heard)
        except EOFError as error:
            dead, worker = worker, self._replaced(worker)
            raise WorkerDied(f"it ended with exit code {await _exit_code(dead.process)}") from error
        except (asyncio.CancelledError, TimeoutError):
            worker = self._replaced(worker)
            raise
        finally:
            self._idle.put_nowait(worker)
        if not succeeded:
            raise outcome
        return outcome

    def _new(self) -> "_Worker":
        worker = _Worker(self._initializer)
        self._all.add(worker)
        return worker

    def _replaced(self, worker: "_Worker") -> "_Worker":
        worker.kill()
        self._all.discard(worker)
        return self._new()


class _Worker:
    """A process that does one call after the other. The event loop watches its pipe: no thread stands between."""

    def __init__(self, initializer: Callable[[], object] | None) -> None:
        # A fork would take over locks that other threads hold.
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self.process = spawning.Process(target=_serve, args=(theirs, os.getpid(), initializer), daemon=True)
        self.process.start()
        theirs.close()
        self._answered: asyncio.Future[_Outcome] | None = None

    async def answer(self, call: bytes, heard: Callable[[Any], None]) -> "_Outcome":
        """Raises `EOFError` where the process has ended."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[_Outcome] = loop.create_future()
        self._answered = answered

        def readable() -> None:
            if answered.done():
                loop.remove_reader(self._pipe)
                return
            try:
                said: _Outcome = pickle.loads(self._pipe.recv_bytes())  # noqa: S301 - of a process of our own
            except (EOFError, OSError) as error:
                loop.remove_reader(self._pipe)
                answered.set_exception(EOFError(str(error)))
                return
            if said[0] is None:
                heard(said[1])
                return
            loop.remove_reader(self._pipe)
            answered.set_result(said)

        try:
            loop.add_reader(self._pipe, readable)
            # uvloop makes what it watches non-blocking: a message that comes in parts would then end in the middle.
            os.set_blocking(self._pipe.fileno(), True)
            if len(call) <= _AT_ONCE:
                self._pipe.send_bytes(call)
            else:
                await in_thread(self._pipe.send_bytes, call)
            return await answered
        except OSError as error:
            raise EOFError(str(error)) from error
        finally:
            if not self._pipe.closed:
                loop.remove_reader(self._pipe)

    def kill(self) -> None:
        self.process.kill()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(EOFError("it was ended"))
        self._pipe.close()


_Outcome = tuple[bool | None, Any]
"""Whether the function succeeded, and what it gave or raised; or None, and what it reports."""
_AT_ONCE = 16 * 1024
"""Bytes that a pipe takes without its reader."""
_reports: Connection | None = None
"""In a process of a pool, the pipe to who called it."""


def report(value: object) -> None:
    """In a function that a pool runs: let who called it by `run_heard` know. Elsewhere nobody hears it."""
    if _reports is not None:
        _reports.send_bytes(_pickled((None, value)))


def _unheard(value: object) -> None:
    pass


async def _exit_code(process: BaseProcess) -> int | None:
    """Its pipe closes before it can be waited for."""
    for _ in range(100):
        if process.exitcode is not None:
            break
        await asyncio.sleep(0.01)
    return process.exitcode


def _serve(pipe: Connection, parent: int, initializer: Callable[[], object] | None) -> None:
    """What a process does: answer each call, until its parent is gone."""
    global _reports
    _begin(parent, initializer)
    _reports = pipe
    with contextlib.suppress(EOFError, OSError):
        while True:
            call = pipe.recv_bytes()
            outcome: _Outcome
            try:
                outcome = (True, _traced(*pickle.loads(call)))  # noqa: S301 - of the process that began this one
            except Exception as error:
                error.add_note(f"In the process that did the work:\n{traceback.format_exc()}")
                outcome = (False, error)
            pipe.send_bytes(_pickled(outcome))


def _pickled(outcome: _Outcome) -> bytes:
    try:
        return pickle.dumps(outcome)
    except Exception as error:
        return pickle.dumps((False, TypeError(f"{outcome[1]!r} cannot be sent from a process: {error!r}")))


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
