"""The background edge of sources: each is pulled by a task of its own, in transactions that begin and end here.

Of any number of processes one pulls a source, by a lease in its row. The points of a range, the marks that say that
it was pulled, and what is counted are committed together, so whatever ends a process loses and doubles nothing.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import POINT_TABLES, PullSource
from plumbline_analysis.points import partitions, resolution
from plumbline_analysis.points import service as points
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.pulls import repository, rules, service
from plumbline_analysis.pulls.asking import Asker, Client
from plumbline_analysis.pulls.failures import PullFailed, Reason, Setback
from plumbline_analysis.pulls.repository import Claim
from plumbline_analysis.pulls.rules import Mark, Range
from plumbline_analysis.pulls.turn import Limits, Turn
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources.answers import Answer
from plumbline_common import db, instruments, offload

log = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
CLAIM_SECONDS = 2.0
"""How often leases are taken and kept, and what was made or changed is noticed."""

_lag = instruments.gauge(
    "plumbline.analysis.pull.lag",
    "s",
    "The age of the newest point that all queries of a source have reached",
    {"plumbline.source": "the names of sources"},
)
_missing = instruments.gauge(
    "plumbline.analysis.pull.missing",
    "s",
    "What is still to be pulled of the past, over all queries of a source",
    {"plumbline.source": "the names of sources"},
)


class Passed(Exception):
    """The right to pull the source has passed to another process, or it was changed or deleted."""


class Puller:
    """Pulls every source that is enabled and that no other process pulls."""

    def __init__(
        self,
        sessions: db.Sessions,
        read_sessions: db.Sessions,
        settings: Settings,
        directory: Directory,
        asker: Asker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._read_sessions = read_sessions
        self._settings = settings
        self._directory = directory
        self._asker = asker
        self._clock = clock
        self.holder = db.new_id()
        self._tasks: dict[Claim, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For ever. Where it is cancelled, other processes may go on at once."""
        try:
            while True:
                try:
                    await self.claim()
                except Exception as error:
                    log.warning("sources can't be claimed and are tried again: %r", error)
                await asyncio.sleep(CLAIM_SECONDS)
        finally:
            await self._end(list(self._tasks), None)
            with contextlib.suppress(Exception):
                async with self._sessions.begin() as session:
                    await repository.release(session, self.holder)

    async def claim(self) -> list[Claim]:
        """Take and keep what nobody else pulls, and have a task for each."""
        async with self._sessions.begin() as session:
            held = await repository.claim(session, self.holder, LEASE_SECONDS)
        # Who still waits for a thread can't commit any more.
        await self._end([claim for claim, task in self._tasks.items() if claim not in held or task.done()], 1)
        for claim in held:
            if claim not in self._tasks:
                self._tasks[claim] = asyncio.create_task(self._follow(claim), name=f"pull {claim.source_id}")
        return held

    async def _end(self, claims: Sequence[Claim], seconds: float | None) -> None:
        """Wait for their ends for so long at most."""
        ended = [self._tasks.pop(claim) for claim in claims]
        for task in ended:
            task.cancel()
        if ended:
            await asyncio.wait(ended, timeout=seconds)
        for task in ended:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                log.error("%s ended and begins anew", task.get_name(), exc_info=error)

    async def _follow(self, claim: Claim) -> None:
        """Turn after turn, until the right to it has passed."""
        async with self._read_sessions() as session:
            source = await repository.find(session, claim.source_id)
        if source is None:
            return
        if source.next_try is not None:
            # The clock may have been set back since.
            rest = source.next_try.timestamp() - self._clock()
            await asyncio.sleep(min(max(rest, 0.0), rules.LONGEST_REST))
        limits: Limits = {}
        async with contextlib.aclosing(self._asker.client(service.spec_of(source), source.name)) as client:
            while True:
                try:
                    wait = await self.turn(claim, client, limits)
                except Passed:
                    return
                except Exception as error:
                    log.warning("the source %s can't be read and is tried again: %r", source.name, error)
                    wait = source.interval_seconds
                await asyncio.sleep(wait)

    async def turn(self, claim: Claim, client: Client, limits: Limits) -> float:
        """What is due of a source. The seconds until the next turn. Raises `Passed`."""
        began = time.monotonic()
        async with self._sessions.begin() as session:
            source = await self._claimed(session, claim)
            stored = (await repository.marks(session, [claim.source_id]))[claim.source_id]

        async def keep(answer: Answer, pulled: Range, marks: Mapping[str, Mark]) -> None:
            await self._store(claim, answer, pulled, marks)

        turn = Turn(self._asker, client, source, stored, limits, self._clock, self._oldest, keep)
        try:
            setback = await turn.take(began + source.interval_seconds)
        except Passed:
            raise
        except Exception:
            log.exception("a turn of the source %s failed; the next tries again", source.name)
            failure = PullFailed(Reason.INTERNAL, "the points could not be stored: see the log of the service")
            setback = Setback(failure, None, is_away=True)
        self._observe(source, list(turn.marks.values()))
        async with self._sessions.begin() as session:
            source = await self._claimed(session, claim)
            # Those that lay ahead of a clock that stepped back too, and where a query begins.
            await repository.keep_marks(session, claim.source_id, turn.marks)
            if setback is None:
                await service.succeeded(session, source, turn.warnings)
                rests = 0.0
            else:
                rests = await service.failed(session, source, setback, random.random())  # noqa: S311 - no secret
        return rests or max(0.0, began + source.interval_seconds - time.monotonic())

    @property
    def _oldest(self) -> int:
        """The beginning of what is kept, in seconds since the epoch."""
        return int(self._clock() - self._settings.retention_days * 86_400)

    async def _claimed(self, session: AsyncSession, claim: Claim) -> PullSource:
        source = await repository.claimed(session, claim)
        if source is None:
            raise Passed
        return source

    async def _store(self, claim: Claim, answer: Answer, pulled: Range, marks: Mapping[str, Mark]) -> None:
        found = await offload.in_thread(resolution.resolve, answer.batch, self._directory)
        if pulled.after < self._clock() - self._settings.past_limit_hours * 3600:
            await self._make_days(pulled)
        async with self._sessions.begin() as session:
            await self._claimed(session, claim)
            await points.store(session, found, self._directory)
            await repository.keep_marks(session, claim.source_id, dict(marks))
            await repository.count_points(session, claim.source_id, found.batch.accepted)

    async def _make_days(self, pulled: Range) -> None:
        """History may be older than what telemetry is taken of otherwise."""
        first, last = (datetime.fromtimestamp(each, UTC).date() for each in pulled)
        async with self._sessions.begin() as session:
            await partitions.maintain(session, POINT_TABLES, first, last, date.min)

    def _observe(self, source: PullSource, marks: Sequence[Mark]) -> None:
        named = {"plumbline.source": source.name}
        if (lag := service.lag(marks, datetime.now(UTC))) is not None:
            _lag.set(lag, named)
        _missing.set(sum(mark.missing for mark in marks), named)
