"""Events in, one service call: what others change becomes searchable."""

from typing import Any
from uuid import UUID

from plumbline_common import bus, db, inbox, telemetry
from plumbline_common.events import (
    AnomalyDetected,
    AnomalyLabelled,
    AnomalyResolved,
    AnomalyUpdated,
    Event,
    Received,
    RequirementCreated,
    RequirementDeleted,
    RequirementTransitioned,
    RequirementUpdated,
)
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
)

RequirementChanged = RequirementCreated | RequirementUpdated | RequirementTransitioned
AnomalyChanged = AnomalyDetected | AnomalyUpdated | AnomalyResolved | AnomalyLabelled


class Indexer:
    """Handlers of the bus. Texts of events that arrive together are embedded together."""

    def __init__(self, sessions: db.Sessions, serving: Serving) -> None:
        self._sessions = sessions
        self._serving = serving

    async def requirement_changed(self, received: Received[RequirementChanged]) -> None:
        await self._index(received, content.of_requirement(received.data.requirement))

    async def requirement_deleted(self, received: Received[RequirementDeleted]) -> None:
        async with self._sessions.begin() as session:
            if not await inbox.first_time(session, received, CONSUMER):
                return
            deleted = received.data
            await indexing.remove(session, "requirement", deleted.requirement_id, deleted.revision, received.time)

    async def anomaly_changed(self, received: Received[AnomalyChanged]) -> None:
        anomaly = received.data.anomaly
        requirement = await self._requirement(anomaly.requirement_id) if anomaly.requirement_id else None
        await self._index(received, content.of_anomaly(anomaly, received.time, requirement))

    async def _requirement(self, id: UUID) -> str | None:
        async with self._sessions.begin() as session:
            return await repository.name_of_requirement(session, id)

    async def _index(self, received: Received[Any], document: Document) -> None:
        # Before the transaction: it takes tens of milliseconds, and no lock waits for another process.
        with telemetry.tracer.start_as_current_span("embed document"):
            found_by = await indexing.read(self._serving, document.key, document.title, document.body)
        async with self._sessions.begin() as session:
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
    }
    return bus.Subscription(CONSUMER, handlers, concurrency)
