"""Events in, one service call: what others change becomes searchable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import bus, db, inbox, telemetry
from plumbline_common.events import (
    AnomalyDetected,
    AnomalyLabelled,
    AnomalyResolved,
    AnomalyUpdated,
    Event,
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    LogTemplateDiscovered,
    LogTemplateRemoved,
    LogTemplateUpdated,
    Received,
    RequirementCreated,
    RequirementDeleted,
    RequirementTransitioned,
    RequirementUpdated,
)
from plumbline_common.schemas import IncidentState
from plumbline_search.documents import content, indexing, repository
from plumbline_search.documents.content import Document
from plumbline_search.indexes.serving import Serving

CONSUMER = "search"
CONSUMES: tuple[type[Event], ...] = (
    RequirementCreated,
    RequirementUpdated,
    RequirementTransitioned,
    RequirementDeleted,
    AnomalyDetected,
    AnomalyUpdated,
    AnomalyResolved,
    AnomalyLabelled,
    IncidentOpened,
    IncidentUpdated,
    IncidentClosed,
    LogTemplateDiscovered,
    LogTemplateUpdated,
    LogTemplateRemoved,
)

AT_ONCE = 3
"""So many transactions write what has arrived: the other connections of the pool are for who asks."""

RequirementChanged = RequirementCreated | RequirementUpdated | RequirementTransitioned
AnomalyChanged = AnomalyDetected | AnomalyUpdated | AnomalyResolved | AnomalyLabelled
IncidentChanged = IncidentOpened | IncidentUpdated | IncidentClosed
LogTemplateChanged = LogTemplateDiscovered | LogTemplateUpdated


class Indexer:
    """Handlers of the bus. Texts of events that arrive together are embedded together."""

    def __init__(self, sessions: db.Sessions, serving: Serving) -> None:
        self._sessions = sessions
        self._serving = serving
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def requirement_changed(self, received: Received[RequirementChanged]) -> None:
        await self._index(received, content.of_requirement(received.data.requirement))

    async def requirement_deleted(self, received: Received[RequirementDeleted]) -> None:
        await self._remove(received, "requirement", received.data.requirement_id, received.data.revision)

    async def anomaly_changed(self, received: Received[AnomalyChanged]) -> None:
        anomaly = received.data.anomaly
        requirement = await self._requirement(anomaly.requirement_id) if anomaly.requirement_id else None
        await self._index(received, content.of_anomaly(anomaly, received.time, requirement))

    async def incident_changed(self, received: Received[IncidentChanged]) -> None:
        incident = received.data.incident
        if incident.state is IncidentState.MERGED:
            # What it said is said by the incident that it is part of.
            await self._remove(received, "incident", incident.id, incident.revision)
        else:
            await self._index(received, content.of_incident(incident, received.time))

    async def log_template_changed(self, received: Received[LogTemplateChanged]) -> None:
        await self._index(received, content.of_log_template(received.data.log_template))

    async def log_template_removed(self, received: Received[LogTemplateRemoved]) -> None:
        await self._remove(received, "log_template", received.data.log_template_id, received.data.revision)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        async with self._turns, self._sessions.begin() as session:
            yield session

    async def _remove(self, received: Received[Any], kind: str, id: UUID, revision: int) -> None:
        async with self._transaction() as session:
            if await inbox.first_time(session, received, CONSUMER):
                await indexing.remove(session, kind, id, revision, received.time)

    async def _requirement(self, id: UUID) -> str | None:
        async with self._transaction() as session:
            return await repository.name_of_requirement(session, id)

    async def _index(self, received: Received[Any], document: Document) -> None:
        # Before the transaction: it takes tens of milliseconds, and no lock waits for another process.
        with telemetry.tracer.start_as_current_span("embed document"):
            found_by = await indexing.read(self._serving, document.key, document.title, document.body)
        async with self._transaction() as session:
            if not await inbox.first_time(session, received, CONSUMER):
                return
            await indexing.index(session, self._serving, document, found_by)


def subscription(sessions: db.Sessions, serving: Serving, concurrency: int) -> bus.Subscription:
    indexer = Indexer(sessions, serving)
    handlers: dict[type[Event], bus.Handler] = {
        RequirementDeleted: indexer.requirement_deleted,
        **dict.fromkeys(
            (RequirementCreated, RequirementUpdated, RequirementTransitioned), indexer.requirement_changed
        ),
        **dict.fromkeys((AnomalyDetected, AnomalyUpdated, AnomalyResolved, AnomalyLabelled), indexer.anomaly_changed),
        **dict.fromkeys((IncidentOpened, IncidentUpdated, IncidentClosed), indexer.incident_changed),
        **dict.fromkeys((LogTemplateDiscovered, LogTemplateUpdated), indexer.log_template_changed),
        LogTemplateRemoved: indexer.log_template_removed,
    }
    return bus.Subscription(CONSUMER, handlers, concurrency)
