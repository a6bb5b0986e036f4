"""Groups anomalies to incidents and keeps the service graph, each in transactions that begin and end here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.trace import use_span
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis import moments
from plumbline_analysis.graph import repository as graph_repository
from plumbline_analysis.graph import service as graph
from plumbline_analysis.graph.service import Learner
from plumbline_analysis.incidents import keeping
from plumbline_analysis.objectives import lease
from plumbline_analysis.settings import Settings
from plumbline_common import db, outbox, telemetry
from plumbline_common.events import Event

FLUSH_SECONDS = 5.0
LOOK_SECONDS = 60.0
_LATELY = timedelta(minutes=10)
"""A series with a point in this time tells of a call."""


class IncidentKeeper:
    """Groups under the lease that the process's evaluator claims. What to group stands in the database: a round that
    ends in the middle has changed nothing, and the next one does it."""

    def __init__(
        self,
        sessions: db.Sessions,
        settings: Settings,
        holder: UUID,
        claim: Callable[[], Awaitable[int | None]],
        clock: Callable[[], datetime] = moments.now,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._holder = holder
        self._claim = claim
        self._clock = clock
        self._newest: datetime | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.round()
            await asyncio.sleep(self._settings.incident_interval_seconds)

    async def round(self) -> None:
        """Group what came or changed; nothing while another process evaluates."""
        while (token := await self._claim()) is not None and await self._group(token):
            pass

    async def _group(self, token: int) -> bool:
        """Whether more is left to group."""
        began = time.time_ns()
        async with self._sessions.begin() as session:
            if not await lease.holds_alone(session, self._holder, token):
                return False
            newest = await graph_repository.newest(session)
            kept = await keeping.keep(session, self._clock(), self._settings, anew=newest != self._newest)
            await _stage(session, kept.events, began)
        self._newest = newest
        return kept.is_behind


async def _stage(session: AsyncSession, events: list[Event], began: int) -> None:
    """In a trace of its own; where there is nothing to tell, there is none."""
    if events:
        told = {"plumbline.events": [event.subject for event in events]}
        span = telemetry.tracer.start_span("group anomalies", context=Context(), start_time=began, attributes=told)
        with use_span(span, end_on_exit=True):
            for event in events:
                await outbox.stage(session, event)


class GraphKeeper:
    """Writes down what this process learned from spans, and under the lease what metrics tell."""

    def __init__(
        self,
        sessions: db.Sessions,
        settings: Settings,
        learner: Learner,
        claim: Callable[[], Awaitable[int | None]],
        clock: Callable[[], datetime] = moments.now,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._learner = learner
        self._claim = claim
        self._clock = clock

    async def flush(self) -> None:
        """Write down the calls that spans told of."""
        counts = await self._learner.drain()
        if not counts:
            return
        try:
            async with self._sessions.begin() as session:
                await graph_repository.add(session, counts, self._clock())
        except BaseException:
            await self._learner.put_back(counts)
            raise

    async def look(self) -> None:
        """Write down the calls that metrics tell of, and forget what was not seen for long."""
        if await self._claim() is None:
            return
        now = self._clock()
        async with self._sessions.begin() as session:
            if counts := await graph.look(session, now - _LATELY):
                await graph_repository.add(session, counts, now)
            await graph_repository.forget(session, now - timedelta(days=self._settings.graph_retention_days))
