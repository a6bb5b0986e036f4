"""Evaluates the logs of every service, each in transactions that begin and end here."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.trace import Span, use_span

from plumbline_analysis import moments
from plumbline_analysis.logs.stream import Stream
from plumbline_analysis.models import LogWatch
from plumbline_analysis.moments import micros
from plumbline_analysis.objectives import lease
from plumbline_analysis.settings import Settings
from plumbline_analysis.templates import repository, service
from plumbline_analysis.templates.mining import mine
from plumbline_analysis.templates.repository import Pending
from plumbline_common import db, offload, outbox, telemetry
from plumbline_common.events import Event

log = logging.getLogger(__name__)

AT_ONCE = 5_000
"""So many lines are mined in one transaction."""


class LogEvaluator:
    """Mines and judges what has come of each service, under the lease that the process's evaluator claims."""

    def __init__(
        self,
        sessions: db.Sessions,
        read_sessions: db.Sessions,
        settings: Settings,
        holder: UUID,
        claim: Callable[[], Awaitable[int | None]],
        clock: Callable[[], datetime] = moments.now,
    ) -> None:
        self._sessions = sessions
        self._read_sessions = read_sessions
        self._settings = settings
        self._holder = holder
        self._claim = claim
        self._clock = clock

    async def run(self) -> None:
        """For ever, whenever an interval has settled."""
        interval = self._settings.log_interval_seconds
        while True:
            await self.round()
            await asyncio.sleep(interval - (time.time() - self._settings.settle_seconds) % interval + 0.01)

    async def round(self) -> None:
        """Evaluate the services that are due; nothing while another process evaluates."""
        if (token := await self._claim()) is None:
            return
        async with self._read_sessions() as session:
            due = await repository.pending(session)
            before = self._clock() - timedelta(days=self._settings.retention_days)
            abandoned = await repository.abandoned(session, before)
        for work, streams in ((self.forget, abandoned), (self.evaluate, due)):
            for each in streams:
                try:
                    await work(each, token)
                except Exception:
                    # It must not keep the others from being evaluated.
                    log.exception("the evaluation of the logs of %s failed; the next round tries again", each.service)

    async def forget(self, pending: Pending, token: int) -> None:
        """Make place for another service: this one has not logged for as long as points are kept."""
        async with self._sessions.begin() as session:
            if await lease.still_holds(session, self._holder, token) and await repository.drop_stream(
                session, pending
            ):
                for event in await service.forget(session, pending, micros(self._clock())):
                    await outbox.stage(session, event)

    async def evaluate(self, pending: Pending, token: int) -> None:
        """Mine the lines of one service that have come, then judge its intervals that have settled."""
        until = micros(self._clock()) - int(self._settings.settle_seconds * 1e6)
        async with self._read_sessions() as session:
            watch = await repository.watch(session, pending.stream)
        stream = await offload.in_thread(self._stream, pending, watch)
        within = timedelta(seconds=self._settings.deployment_window_seconds)
        is_new, whole, position = stream is None, False, pending.position
        stream = stream or self._new(pending)
        while not whole:
            began = time.time_ns()
            async with self._read_sessions() as session:
                lines = await repository.lines_after(session, pending.stream, position, AT_ONCE)
                known = [] if is_new else list(await repository.known(session, pending.stream))
            whole = len(lines) < AT_ONCE
            position = max(lines[-1].position if lines else 0, pending.lines if whole else 0)
            times, bodies = [micros(line.ts) for line in lines], [line.body for line in lines]
            mined = await offload.in_thread(mine, stream, times, bodies, known, until if whole else None)
            async with self._sessions.begin() as session:
                if not await lease.still_holds(session, self._holder, token):
                    return
                events = await service.forget(session, pending, until) if is_new else []
                events += await service.record(session, pending, position, mined, within)
                if events:
                    with _trace(pending.service, events, began):
                        for event in events:
                            await outbox.stage(session, event)
            is_new = False

    def _stream(self, pending: Pending, watch: LogWatch | None) -> Stream | None:
        """The stream as it was left; None where it is new, or its state can't be read."""
        if watch is None:
            return None
        interval, lateness, since = self._spans(pending)
        try:
            return Stream.from_bytes(watch.miner, watch.watch, watch.pending, interval, lateness, since)
        except ValueError as error:
            log.warning("the logs of %s are learned anew: %s", pending.service, error)
            return None

    def _new(self, pending: Pending) -> Stream:
        return Stream(*self._spans(pending))

    def _spans(self, pending: Pending) -> tuple[int, int, int]:
        """Interval and lateness, and since when the stream is watched, in microseconds."""
        settings = self._settings
        lateness = int(settings.lateness_seconds * 1e6)
        return settings.log_interval_seconds * 1_000_000, lateness, micros(pending.first_seen)


@contextlib.contextmanager
def _trace(service_name: str, events: list[Event], began: int) -> Iterator[Span]:
    """A trace of its own for an evaluation that found something."""
    span = telemetry.tracer.start_span(
        "evaluate logs",
        context=Context(),
        start_time=began,
        attributes={
            "plumbline.log.service": service_name,
            "plumbline.events": sorted({event.subject for event in events}),
        },
    )
    with use_span(span, end_on_exit=True):
        yield span
