"""The streams of one process: one reader of the log, whose latest events they share."""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio

from plumbline_common import db, outbox, sse, telemetry
from plumbline_requirements.stream import repository, rules
from plumbline_requirements.stream.rules import Entry, Filter

log = logging.getLogger(__name__)

PAGE = 200
PAGES_AT_ONCE = 2
"""How many streams that catch up read the log at the same time: the others, and all else, need connections too."""
LOOK_BACK = 500
"""What the reader begins with, so that clients who come again after a restart do not each read the log."""
TAIL_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Start:
    """Where a stream begins, and what it tells first."""

    position: int
    opening: bytes


class Tail:
    """The latest events, without a gap, bounded in number and bytes. Whoever follows is a position in it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.end: int | None = None
        """The last position; None until the log is read."""

    def begin(self, position: int | None) -> None:
        """Forget all; what follows `position` comes next."""
        self._entries.clear()
        self._bytes = 0
        self.end = position

    def append(self, page: list[Entry]) -> None:
        if page[0].position - 1 != self.end:
            self.begin(page[0].position - 1)
        self._entries.extend(page)
        self._bytes += sum(len(entry.data) for entry in page)
        self.end = page[-1].position
        while len(self._entries) > self._most or self._bytes > TAIL_BYTES:
            self._bytes -= len(self._entries.popleft().data)

    def after(self, position: int) -> list[Entry] | None:
        """What comes after `position`; None where that is forgotten."""
        if self.end is None or position < self.end - len(self._entries):
            return None
        newer = min(max(self.end - position, 0), PAGE * 5)
        begin = len(self._entries) - max(self.end - position, 0)
        return [self._entries[index] for index in range(begin, begin + newer)]


class Streams:
    """At most `limit` streams. One that falls more than `tail` events behind the newest is cut off."""

    def __init__(
        self, sessions: db.Sessions, *, limit: int, heartbeat: float, send_timeout: float, tail: int
    ) -> None:
        self.send_timeout = send_timeout
        self._sessions = sessions
        self._limit = limit
        self._heartbeat = heartbeat
        self._tail = Tail(tail)
        self._open = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._paging = asyncio.Semaphore(PAGES_AT_ONCE)
        self._ending = False
        self.shutdown = anyio.Event()
        """Set when the server begins to stop, which waits for its answers to end."""

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one stream. Raises `sse.TooManyStreams`."""
        if self._open >= self._limit:
            raise sse.TooManyStreams(f"{self._limit} streams are open here; try again later")
        self._open += 1
        telemetry.open_streams.add(1)
        self._wanted.set()
        try:
            yield
        finally:
            self._open -= 1
            telemetry.open_streams.add(-1)
            if not self._open:
                self._wanted.clear()

    async def start(self, last_id: int | None) -> Start:
        """After `last_id` where the log has all that followed; else from now on."""
        async with self._sessions() as session:
            kept = await repository.kept(session)
        if last_id is None:
            return Start(kept.newest, sse.opening(kept.newest))
        if kept.follows(last_id):
            return Start(last_id, sse.opening(last_id))
        return Start(kept.newest, sse.opening(kept.newest) + rules.reset(last_id, kept))

    async def follow(self, start: Start, wanted: Filter, expires_at: float = math.inf) -> AsyncIterator[bytes]:
        """The stream: what the log holds after its start, then what comes, until `expires_at` or the shutdown."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + expires_at - time.time()
        position, live = start.position, False
        yield start.opening
        beat_at = loop.time() + self._heartbeat
        while not self._ending and loop.time() < ends_at:
            news = self._news
            entries = self._tail.after(position)
            if entries is not None:
                live = True
            elif live:
                log.info("a stream is cut off: its reader is too slow")
                yield sse.comment("too slow: resume from the last id")
                return
            else:
                try:
                    entries = await self._page(position)
                except Exception as error:
                    if not db.is_transient(error):
                        raise
                    log.warning("a stream ends, for the log cannot be read: %r", error)
                    return
                if entries and entries[0].position != position + 1:
                    # Pruned since the stream began.
                    start = await self.start(position)
                    position, live = start.position, False
                    yield start.opening
                    continue
            for chunk in rules.chunks(entries, wanted):
                yield chunk
                beat_at = loop.time() + self._heartbeat
            if entries:
                position = entries[-1].position
            if loop.time() >= beat_at:
                yield sse.heartbeat(position)
                beat_at = loop.time() + self._heartbeat
            if not entries:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(min(beat_at, ends_at)):
                        await news.wait()
        yield sse.comment("the server stops" if self._ending else "the token has expired")

    async def read(self) -> None:
        """Keep the tail while anyone follows; faults of the database are raised, to be run again after."""
        while True:
            await self._wanted.wait()
            wake = asyncio.Event()
            async with repository.listening(self._sessions, wake) as driver:
                if self._tail.end is None:
                    await self._begin()
                while self._open:
                    outbox.check_listening(driver)
                    # Cleared before the log is read: what gets its position from now on wakes again.
                    wake.clear()
                    while await self._read_on() == PAGE:
                        pass
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(outbox.POLL_SECONDS):
                            await wake.wait()
                self._tail.begin(None)

    async def end_at_shutdown(self) -> None:
        """Ends every stream when the server begins to stop."""
        await self.shutdown.wait()
        self._ending = True
        self._announce()

    async def _begin(self) -> None:
        async with self._sessions() as session:
            kept = await repository.kept(session)
        self._tail.begin(max(kept.newest - LOOK_BACK, kept.oldest - 1))

    async def _read_on(self) -> int:
        assert self._tail.end is not None
        async with self._sessions() as session:
            page = await repository.page(session, self._tail.end, PAGE)
        if page:
            self._tail.append(page)
            self._announce()
        return len(page)

    async def _page(self, position: int) -> list[Entry]:
        async with self._paging, self._sessions() as session:
            return await repository.page(session, position, PAGE)

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
