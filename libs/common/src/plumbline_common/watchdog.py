"""Reports what holds the event loop: a thread looks at the loop's stack while a heartbeat of the loop is overdue.

Where the kernel tells how long the loop's thread waited for a processor (Linux, `schedstat`), that is taken off: a
machine that is short of processors is nobody's block.
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import re
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from plumbline_common import telemetry

log = logging.getLogger(__name__)

_LIBRARIES = tuple(str(Path(path)) for path in {*sysconfig.get_paths().values()} if "python" in path.lower())
_SAMPLE_SECONDS = 0.01
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)


class _Line(NamedTuple):
    """Where a frame stands."""

    file: str
    number: int


@dataclass(frozen=True)
class Block:
    """One place that held the loop: `place` is file:line in the caller's code, `innermost` where it stood."""

    place: str
    innermost: str
    seconds: float


class Watchdog:
    """`async with Watchdog(0.1):` reports any block over the threshold (s), each place once, and how long it was.

    Runs on the loop that enters it. Costs a wake-up of a thread and of the loop every third of the threshold: less
    than a busy loop's turns vary from run to run (`make bench NAME=watchdog`: 0.97 to 1.04 of those without it).
    `blocks` keeps what was reported.
    """

    def __init__(self, threshold: float = 0.1) -> None:
        self._threshold = threshold
        self._beat = threshold / 3
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="event-loop-watchdog", daemon=True)
        self._alive_at = 0.0
        self._waited_at = 0.0
        self._queue = _Queue()
        self._due: asyncio.TimerHandle | None = None
        self._reported: set[str] = set()
        self._dump = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is closed with the watchdog
        self.blocks: list[Block] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._queue.open(threading.get_native_id())
        self._alive_at = time.perf_counter()
        self._heartbeat()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._due is not None:
            self._due.cancel()
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 1)
        if not self._thread.is_alive():
            self._dump.close()
            self._queue.close()

    def _heartbeat(self) -> None:
        now = time.perf_counter()
        telemetry.loop_lag.record(max(0.0, now - self._alive_at - self._beat))
        self._waited_at = self._queue.waited()
        self._alive_at = now
        self._due = self._loop.call_later(self._beat, self._heartbeat)

    def _watch(self) -> None:
        while not self._stop.wait(self._beat):
            beat = self._alive_at
            # Begin to look at half of the threshold, so that a block just over it was seen several times.
            if time.perf_counter() - beat - self._beat > self._threshold / 2:
                self._look(beat)

    def _look(self, beat: float) -> None:
        """Sample the loop's stack until the heartbeat `beat` is followed by another."""
        places: Counter[tuple[str, str]] = Counter()
        noted, waited_at = False, self._waited_at
        while self._alive_at == beat and not self._stop.is_set():
            stack = self._stack()
            if stack and not _idle(stack[0]):
                places[_place(stack)] += 1
            seconds = self._held(beat, waited_at)
            if places and seconds >= self._threshold and not noted:
                # Now, while the span is still open: it may end with the block.
                noted = True
                self._note(places, seconds)
            if places and seconds > 50 * self._threshold:
                self._report(places, seconds)  # it may never end
            time.sleep(_SAMPLE_SECONDS)  # noqa: TID251 - this is a thread of its own
        seconds = self._held(beat, waited_at)
        if places and seconds >= self._threshold:
            telemetry.loop_blocks.add(1, {"code.location": places.most_common(1)[0][0][0]})
            self._report(places, seconds)

    def _held(self, beat: float, waited_at: float) -> float:
        """How long the heartbeat after `beat` is overdue, without what the loop's thread waited for a processor."""
        return time.perf_counter() - beat - self._beat - (self._queue.waited() - waited_at)

    def _stack(self) -> list[_Line]:
        """The stack of the loop's thread, the innermost frame first.

        By the interpreter's own dump, which nothing interrupts: frames that are read one by one may be gone by the
        next, and with greenlets the interpreter then crashes.
        """
        # Nothing before it: any reading or writing lets the loop go on.
        faulthandler.dump_traceback(self._dump, all_threads=True)
        self._dump.seek(0)
        threads = self._dump.read().decode("utf-8", "replace").split("\n\n")
        self._dump.seek(0)
        self._dump.truncate()
        for thread in threads:
            head, _, frames = thread.partition("\n")
            if re.match(rf"Thread 0x0*{self._loop_thread:x} ", head):
                return [_Line(file, int(number)) for file, number in _FRAME.findall(frames)]
        return []

    def _note(self, places: Counter[tuple[str, str]], seconds: float) -> None:
        """An event on the span of the task that holds the loop, with the duration so far."""
        task = asyncio.current_task(self._loop)
        span = telemetry.span_of.get(task) if task is not None else None
        if span is not None:
            place, innermost = places.most_common(1)[0][0]
            span.add_event(
                "event_loop.blocked",
                {"code.location": place, "code.innermost": innermost, "plumbline.block.duration": seconds},
            )

    def _report(self, places: Counter[tuple[str, str]], seconds: float) -> None:
        place, innermost = places.most_common(1)[0][0]
        if place in self._reported:
            return
        self._reported.add(place)
        self.blocks.append(Block(place, innermost, seconds))
        log.warning(
            "the event loop was blocked for %.0f ms at %s (in %s)",
            seconds * 1000,
            place,
            innermost,
            extra={"code.location": place, "code.innermost": innermost, "plumbline.block.duration": seconds},
        )


class _Queue:
    """How long a thread has waited for a processor since it began, as the kernel counts it."""

    def __init__(self) -> None:
        self._file: int | None = None

    def open(self, thread: int) -> None:
        """`thread` by the kernel's number."""
        with contextlib.suppress(OSError):
            self._file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)

    def waited(self) -> float:
        """Seconds; 0 where the kernel does not tell. What it waits for just now is counted when it goes on."""
        if self._file is None:
            return 0.0
        # "on the processor, waiting for it, times that it went on", the first two in nanoseconds
        return int(os.pread(self._file, 64, 0).split()[1]) / 1e9

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _idle(innermost: _Line) -> bool:
    """Whether the loop waits for events: then it is late for want of a processor, not for a block."""
    waiting = ("/selectors.py", "/asyncio/runners.py", "/asyncio/base_events.py", "/uvicorn/_compat.py")
    return innermost.file.endswith(waiting)


def _place(stack: Sequence[_Line]) -> tuple[str, str]:
    """The innermost line outside of the libraries, and the innermost line of all."""
    innermost = f"{stack[0].file}:{stack[0].number}"
    for line in stack:
        if not line.file.startswith((*_LIBRARIES, "<")):
            return f"{line.file}:{line.number}", innermost
    return innermost, innermost
