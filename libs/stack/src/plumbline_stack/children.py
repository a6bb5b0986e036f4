"""A child of the supervisor: started, watched, restarted with backoff, stopped."""

import asyncio
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from plumbline_stack import processes
from plumbline_stack.guard import Guard
from plumbline_stack.processes import Command, NotReady
from plumbline_stack.state import ChildState, creation_time, now

Report = Callable[[str, str, str], None]
"""Takes the step, its new state (starting, ready, failed, restarting, stopping, stopped, note) and a detail."""

_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_STEADY_SECONDS = 30.0
"""A child that ran this long starts its delays anew."""


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to know it. Deadlines are in seconds.

    `prepare` runs before every start, `settle` after it is ready, `before_stop` before it is asked to end.
    `max_age` seconds after its start a child is replaced: a service can't be given a new token while it runs.
    """

    name: str
    command: Callable[[], Command]
    ready: Callable[[], Awaitable[bool]]
    prepare: Callable[[], Awaitable[None]] = _nothing
    settle: Callable[[], Awaitable[None]] = _nothing
    before_stop: Callable[[], Awaitable[None]] = _nothing
    port: int | None = None
    url: str | None = None
    start_deadline: float = 60.0
    stop_deadline: float = 15.0
    max_age: float | None = None


class Child:
    """One supervised process. `on_change` is called after each change of `state`."""

    def __init__(
        self, spec: ChildSpec, log: Path, guard: Guard, report: Report, on_change: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.log = log
        self.state = ChildState(spec.name, "stopped", port=spec.port, url=spec.url, log=str(log))
        self._guard = guard
        self._report = report
        self._on_change = on_change
        self._process: Process | None = None
        self._stop_signal = signal.SIGTERM
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it is ready and watched. Raises NotReady with the end of its log."""
        self._report(self.spec.name, "starting", "")
        began = time.monotonic()
        try:
            await self._launch()
        except NotReady as error:
            self._report(self.spec.name, "failed", str(error))
            raise NotReady(f"{self.spec.name}: {error}\n{processes.tail(self.log)}\nall of it: {self.log}") from None
        self._report(self.spec.name, "ready", f"{time.monotonic() - began:.1f} s")
        self._watch = asyncio.create_task(self._keep_alive(), name=f"watch {self.spec.name}")

    async def stop(self) -> None:
        """Stops it with all that it started; harmless where it doesn't run."""
        if self._watch is not None:
            while not self._watch.done():
                self._watch.cancel()
                await asyncio.wait({self._watch}, timeout=1)
            self._watch = None
        if self._process is None:
            if self.state.status != "stopped":  # it was about to be restarted
                self._change(status="stopped", pid=None, process_started=None)
            return
        self._report(self.spec.name, "stopping", "")
        await self.spec.before_stop()
        asked = await self._end()
        self._change(status="stopped", pid=None, process_started=None)
        self._report(self.spec.name, "stopped", "" if asked else "it did not stop in time and was killed")

    async def _launch(self) -> None:
        await self.spec.prepare()
        command = self.spec.command()
        self._stop_signal = command.stop_signal
        self._process = process = await processes.start(command, self.log)
        self._guard.started(process.pid, command.stop_signal)
        self._change(
            status="starting",
            pid=process.pid,
            process_started=creation_time(process.pid),
            stop_signal=int(command.stop_signal),
        )
        try:
            await processes.until_ready(process, self.spec.ready, self.spec.start_deadline)
            await self.spec.settle()
        except BaseException:
            await self._end()
            self._change(status="stopped", pid=None, process_started=None)
            raise
        self._change(status="running", started_at=now())

    async def _end(self) -> bool:
        process, self._process = self._process, None
        if process is None:
            return True
        try:
            return await processes.stop(process, self._stop_signal, self.spec.stop_deadline)
        finally:
            self._guard.ended(process.pid)

    async def _keep_alive(self) -> None:
        delay = _FIRST_DELAY
        while True:
            began = time.monotonic()
            reason = await self._until_it_ends()
            await self._end()  # its own children may live on
            if time.monotonic() - began > _STEADY_SECONDS:
                delay = _FIRST_DELAY
            while True:
                self._change(
                    status="restarting",
                    pid=None,
                    process_started=None,
                    restarts=self.state.restarts + 1,
                    last_exit=reason,
                )
                self._report(self.spec.name, "restarting", f"{reason}; again in {delay:.1f} s")
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY)
                try:
                    await self._launch()
                except Exception as error:
                    reason = f"the restart failed: {error}"
                    continue
                self._report(self.spec.name, "ready", f"after {self.state.restarts} restarts")
                break

    async def _until_it_ends(self) -> str:
        assert self._process is not None
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes as the process ends.
            async with asyncio.timeout(self.spec.max_age):
                code = await self._process.wait()
        except TimeoutError:
            return "it is replaced before its token expires"
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
        return f"it ended with exit code {code}"

    def _change(self, **changes: object) -> None:
        self.state = ChildState(**{**self.state.__dict__, **changes})
        try:
            self._on_change()
        except OSError as error:
            self._report(self.spec.name, "note", f"its state could not be written: {error}")
