"""The streams of jobs that one process has open: one reader looks for all of them what has changed.

A stream tells a job as it stands, and again whenever it has changed; its ids are the job's revisions. Whoever comes
again is told what is newer than the last id, so nothing has to be kept for it, and any process can go on.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import anyio

from plumbline_analysis.jobs import repository, rules
from plumbline_common import db, outbox, sse, telemetry
from plumbline_common.schemas import JobSnapshot

HEARTBEAT_SECONDS = 15.0
SEND_TIMEOUT_SECONDS = 20.0
_GATHER_SECONDS = 0.1
"""So long changes are left to come together."""


@dataclass
class _Followed:
    """A job that streams follow; `news` is replaced each time that it was set."""

    job: JobSnapshot
    streams: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, job: JobSnapshot) -> None:
        if job.revision > self.job.revision:
            self.job = job
            self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Following:
    """At most `limit` streams."""

    def __init__(self, sessions: db.Sessions, limit: int) -> None:
        self._sessions = sessions
        self._limit = limit
        self._open = 0
        self._followed: dict[UUID, _Followed] = {}
        self._wanted = asyncio.Event()
        self._ending = False
        self.shutdown = anyio.Event()
        """Set when the server begins to stop, which waits for its answers to end."""

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one stream. Raises `sse.TooManyStreams`."""
        if self._open >= self._limit:
            raise sse.TooManyStreams(f"{self._limit} streams of jobs are open here; try again later")
        self._open += 1
        telemetry.open_streams.add(1)
        try:
            yield
        finally:
            self._open -= 1
            telemetry.open_streams.add(-1)

    async def look_up(self, id: UUID) -> JobSnapshot:
        """Raises `NotFound`."""
        async with self._sessions() as session:
            return JobSnapshot.model_validate(await repository.one(session, id))

    async def follow(self, job: JobSnapshot, seen: int, expires_at: float = math.inf) -> AsyncIterator[bytes]:
        """What is newer than revision `seen`, until the job is over, `expires_at` or the shutdown."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + expires_at - time.time()
        yield sse.opening(seen)
        with self._following(job) as followed:
            while True:
                news, job = followed.news, followed.job
                if job.revision > seen:
                    yield sse.frame(job.revision, job.state.value, job.model_dump_json())
                    seen = job.revision
                if job.state in rules.OVER or self._ending or loop.time() >= ends_at:
                    return
                beat_at = loop.time() + HEARTBEAT_SECONDS
                try:
                    async with asyncio.timeout_at(min(beat_at, ends_at)):
                        await news.wait()
                except TimeoutError:
                    yield sse.heartbeat(seen)

    @contextlib.contextmanager
    def _following(self, job: JobSnapshot) -> Iterator[_Followed]:
        followed = self._followed.setdefault(job.id, _Followed(job))
        followed.take(job)
        followed.streams += 1
        self._wanted.set()
        try:
            yield followed
        finally:
            followed.streams -= 1
            if not followed.streams:
                del self._followed[job.id]
            if not self._followed:
                self._wanted.clear()

    async def read(self) -> None:
        """Look for changes while anyone follows; faults of the database are raised, to be run again after."""
        while True:
            await self._wanted.wait()
            wake = asyncio.Event()
            async with repository.listening(self._sessions, wake) as driver:
                while self._followed:
                    outbox.check_listening(driver)
                    # Cleared before the jobs are read: what changes from now on wakes again.
                    wake.clear()
                    async with self._sessions() as session:
                        changed = await repository.changed(session, list(self._followed))
                    for job in map(JobSnapshot.model_validate, changed):
                        if job.id in self._followed:
                            self._followed[job.id].take(job)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(outbox.POLL_SECONDS):
                            await wake.wait()
                            await asyncio.sleep(_GATHER_SECONDS)

    async def end_at_shutdown(self) -> None:
        """Ends every stream when the server begins to stop."""
        await self.shutdown.wait()
        self._ending = True
        for followed in self._followed.values():
            followed.wake()
