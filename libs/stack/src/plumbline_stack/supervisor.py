"""Runs a whole stack: starts it in order, keeps it alive, stops it in the opposite order."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from plumbline_stack import processes
from plumbline_stack.children import Child, ChildSpec, Report
from plumbline_stack.config import StackConfig
from plumbline_stack.guard import Guard
from plumbline_stack.orphans import end_orphans
from plumbline_stack.plan import Plan
from plumbline_stack.ports import Reservations
from plumbline_stack.processes import NotReady
from plumbline_stack.state import StackState, creation_time, emptied, locked, now, read_state, write_state

FAULT_HEADER = "x-plumbline-fault"
_MIGRATION_DEADLINE = 120.0
_LOG_BYTES = 10 * 1024 * 1024
_LOG_CHECK_SECONDS = 5.0

T = TypeVar("T")


class StackError(Exception):
    """The stack did not come up; the message holds the end of the log of what failed."""


def _silent(step: str, state: str, detail: str) -> None:
    pass


class Stack:
    """`async with Stack(config) as stack:` is up when the block begins and down when it ends.

    Raises AlreadyRunning where another process runs one on the same folder, StackError where it doesn't come up.
    """

    def __init__(self, config: StackConfig, on_progress: Report = _silent) -> None:
        self.config = config
        self.folder = config.folder.absolute()
        self.ports: Mapping[str, int] = {}
        self.urls: Mapping[str, str] = {}
        self.fault_header: dict[str, str] = {}
        """With it a request may ask the gateway for `x-plumbline-fault-delay-ms` or `-abort-status`."""
        self._report = on_progress
        self._children: list[Child] = []
        self._waves: list[list[Child]] = []
        self._exit = contextlib.AsyncExitStack()
        self._started_at = now()
        self._ready = False

    async def __aenter__(self) -> "Stack":
        async with contextlib.AsyncExitStack() as entering:
            entering.enter_context(locked(self.folder))
            for name in await end_orphans(read_state(self.folder)):
                self._report(name, "note", "an earlier one still ran and was ended")
            if self.config.anew:
                await asyncio.to_thread(emptied, self.folder)
            (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
            self._lay_out(entering.enter_context(contextlib.closing(Reservations())))
            guard = await entering.enter_async_context(Guard())
            entering.callback(self._write)
            entering.push_async_callback(self._stop)
            try:
                await self._start(guard)
            except NotReady as error:
                raise StackError(str(error)) from None
            self._ready = True
            self._write()
            bounding = asyncio.create_task(self._bound_logs(), name="bound the logs")
            entering.push_async_callback(_cancelled, bounding)
            self._exit = entering.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ready = False
        await self._exit.aclose()

    def _lay_out(self, reservations: Reservations) -> None:
        self.ports = {name: reservations.take(port) for name, port in self.config.wanted_ports().items()}
        self._plan = Plan.of(self.config, self.folder, self.ports)
        self.urls = self._plan.urls()
        self.fault_header = {FAULT_HEADER: self._plan.credentials.get("fault")}
        for name, wanted in self.config.ports.items():
            if self.ports[name] != wanted:
                self._report(name, "note", f"port {wanted} is taken; it uses {self.ports[name]}")

    async def _start(self, guard: Guard) -> None:
        plan = self._plan
        await self._start_wave(plan.servers(), guard)
        await _together(self._migrate(name, command) for name, command in plan.migrations().items())
        await self._start_wave(plan.services(), guard)
        await self._start_wave(plan.front(), guard)

    async def _start_wave(self, specs: Iterable[ChildSpec], guard: Guard) -> None:
        wave = [Child(spec, self._plan.log(spec.name), guard, self._report, self._write) for spec in specs]
        self._waves.append(wave)
        self._children += wave
        await _together(child.start() for child in wave)

    async def _migrate(self, name: str, command: processes.Command) -> None:
        step = f"{name} migrations"
        log = self._plan.log(f"{name}-migrations")
        self._report(step, "starting", "")
        code = await processes.run(command, log, _MIGRATION_DEADLINE)
        if code != 0:
            self._report(step, "failed", f"exit code {code}")
            raise NotReady(f"{step} failed with exit code {code}\n{processes.tail(log, 15)}")
        self._report(step, "ready", "")

    async def _stop(self) -> None:
        for wave in reversed(self._waves):
            ended = await asyncio.gather(*(child.stop() for child in wave), return_exceptions=True)
            for child, failure in zip(wave, ended, strict=True):
                if isinstance(failure, BaseException):  # the next wave is stopped all the same
                    self._report(child.spec.name, "note", f"it could not be stopped in order: {failure!r}")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            for log in (self.folder / "logs").glob("*.log"):
                try:
                    if log.stat().st_size > _LOG_BYTES:
                        await asyncio.to_thread(_rotate, log)
                except OSError as error:
                    self._report("logs", "note", f"{log.name} could not be bounded: {error}")

    def token(self, *roles: str, teams: Iterable[str] = (), subject: str = "alice", expires_in: float = 3600) -> str:
        """A token that the gateway and the services accept for `expires_in` seconds."""
        return self._plan.issuer.token(*roles, teams=teams, subject=subject, expires_in=expires_in)

    def dsn(self, role: str) -> str:
        """The SQLAlchemy URL of a service's role, password included."""
        return self._plan.postgres.dsn(role)

    def nats_url(self, user: str) -> str:
        """The URL of a service's NATS user, or of `admin`, password included."""
        return self._plan.nats.url(user)

    def child(self, name: str) -> Child:
        """Raises KeyError where there is no such child."""
        return {child.spec.name: child for child in self._children}[name]

    def status(self) -> StackState:
        """As `read_state(folder)` gives it to other processes."""
        pid = os.getpid()
        return StackState(
            pid=pid,
            process_started=creation_time(pid) or 0.0,
            started_at=self._started_at,
            ready=self._ready,
            ports=self.ports,
            urls=self.urls,
            children=tuple(child.state for child in self._children),
            running=True,
        )

    def _write(self) -> None:
        write_state(self.folder, self.status())


async def run_foreground(
    config: StackConfig, work: Callable[[Stack], Awaitable[T]], on_progress: Report = _silent
) -> T | None:
    """Runs a stack and `work` on it, then stops it. SIGINT, SIGTERM and SIGHUP end either before its time.

    Returns what `work` returned, None where a signal came first. Raises AlreadyRunning and StackError as Stack does.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stop.set)

    async def run() -> T:
        async with Stack(config, on_progress) as stack:
            return await work(stack)

    running = asyncio.create_task(run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await _cancelled(running)
            return None
        return running.result()
    finally:
        await _cancelled(stopping)
        for number in signals:
            loop.remove_signal_handler(number)


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        refused = failures.subgroup(NotReady)
        raise refused.exceptions[0] if refused else failures from None


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _rotate(log: Path) -> None:
    # Copied and cut, not renamed: the child writes on into the file that it has.
    shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)
