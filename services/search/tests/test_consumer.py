from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from indexed import OneIndex
from plumbline_common import db
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
from plumbline_common.schemas import AnomalySnapshot, IncidentSnapshot, LogTemplateSnapshot, RequirementSnapshot
from plumbline_search import consumer
from plumbline_search.consumer import Indexer
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.indexes.serving import Serving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NewRequirement = Callable[..., RequirementSnapshot]
NewAnomaly = Callable[..., AnomalySnapshot]
NewIncident = Callable[..., IncidentSnapshot]
NewLogTemplate = Callable[..., LogTemplateSnapshot]
AsReceived = Callable[..., Received[Any]]


@pytest.fixture
def indexer(sessions: db.Sessions, serving: Serving) -> Indexer:
    return Indexer(sessions, serving)


async def rows(sessions: db.Sessions, statement: str) -> list[tuple[Any, ...]]:
    async with sessions() as session:
        return [tuple(row) for row in await session.execute(text(statement))]


async def state(sessions: db.Sessions) -> list[tuple[Any, ...]]:
    return await rows(
        sessions,
        "SELECT revision, deleted, title, state, EXISTS (SELECT 1 FROM search_passages_0 p"
        " WHERE p.document = d.id AND p.version = d.version) FROM search_documents d",
    )


async def test_a_created_requirement_is_indexed_and_said_to_be(
    indexer: Indexer, sessions: db.Sessions, requirement: NewRequirement, received: AsReceived
) -> None:
    await indexer.requirement_changed(received(RequirementCreated(requirement=requirement())))
    assert await state(sessions) == [(3, False, "Checkout answers fast", "active", True)]
    ((subject, key, data),) = await rows(sessions, "SELECT subject, key, data FROM outbox")
    assert subject == "search.document.indexed.v1"
    assert key == f"requirement:{UUID(int=1)}"
    assert MODEL in data
    assert await rows(sessions, "SELECT model FROM search_passages_0") == [(MODEL,)]


async def test_an_event_that_comes_twice_is_done_once(
    indexer: Indexer, sessions: db.Sessions, requirement: NewRequirement, received: AsReceived
) -> None:
    event = received(RequirementCreated(requirement=requirement()))
    await indexer.requirement_changed(event)
    await indexer.requirement_changed(event)
    assert len(await rows(sessions, "SELECT 1 FROM outbox")) == 1
    assert len(await rows(sessions, "SELECT 1 FROM inbox")) == 1


async def test_a_deleted_requirement_is_gone(
    indexer: Indexer, sessions: db.Sessions, requirement: NewRequirement, received: AsReceived
) -> None:
    await indexer.requirement_changed(received(RequirementCreated(requirement=requirement())))
    deleted = received(RequirementDeleted(requirement_id=UUID(int=1), revision=3, actor="alice"))
    await indexer.requirement_deleted(deleted)
    await indexer.requirement_deleted(deleted)
    assert await state(sessions) == [(3, True, "", None, False)]


def _life(requirement: NewRequirement) -> list[Event]:
    def at(revision: int, seconds: int, status: str) -> RequirementSnapshot:
        return requirement(
            revision=revision,
            title=f"revision {revision}",
            status=status,
            updated_at=NOW + timedelta(seconds=seconds),
        )

    return [
        RequirementCreated(requirement=at(1, 0, "draft")),
        RequirementTransitioned(requirement=at(1, 1, "in_review"), previous="draft", actor="alice"),
        RequirementUpdated(requirement=at(2, 2, "in_review"), changed=["title"]),
        RequirementDeleted(requirement_id=UUID(int=1), revision=2, actor="alice"),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_whatever_the_order_the_newest_state_remains(
    indexer: Indexer,
    sessions: db.Sessions,
    requirement: NewRequirement,
    received: AsReceived,
    order: tuple[int, ...],
) -> None:
    life = _life(requirement)
    for number in order:
        await indexer.requirement_changed(received(life[number]))
    assert await state(sessions) == [(2, False, "revision 2", "in_review", True)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_whatever_the_order_what_was_deleted_stays_deleted(
    indexer: Indexer,
    sessions: db.Sessions,
    requirement: NewRequirement,
    received: AsReceived,
    order: tuple[int, ...],
) -> None:
    life = _life(requirement)
    for number in order:
        event = received(life[number])
        if isinstance(event.data, RequirementDeleted):
            await indexer.requirement_deleted(event)
        else:
            await indexer.requirement_changed(event)
    assert await state(sessions) == [(2, True, "", None, False)]


async def test_an_anomaly_is_indexed_with_the_name_of_its_requirement(
    indexer: Indexer,
    sessions: db.Sessions,
    requirement: NewRequirement,
    anomaly: NewAnomaly,
    received: AsReceived,
) -> None:
    await indexer.requirement_changed(received(RequirementCreated(requirement=requirement())))
    owned = anomaly(requirement_id=UUID(int=1), requirement_revision=3)
    await indexer.anomaly_changed(received(AnomalyDetected(anomaly=owned)))
    ((body,),) = await rows(sessions, "SELECT body FROM search_documents WHERE kind = 'anomaly'")
    assert "departs from REQ-42 Checkout answers fast" in body


async def test_an_anomaly_of_a_requirement_that_is_not_indexed_yet_is_indexed(
    indexer: Indexer, sessions: db.Sessions, anomaly: NewAnomaly, received: AsReceived
) -> None:
    owned = anomaly(requirement_id=UUID(int=9), requirement_revision=1)
    await indexer.anomaly_changed(received(AnomalyDetected(anomaly=owned)))
    assert await rows(sessions, "SELECT kind, state FROM search_documents") == [("anomaly", "open")]


async def test_a_resolved_anomaly_stays_resolved_when_an_update_comes_late(
    indexer: Indexer, sessions: db.Sessions, anomaly: NewAnomaly, received: AsReceived
) -> None:
    resolved = AnomalyResolved(anomaly=anomaly(revision=4, state="resolved", end=NOW))
    await indexer.anomaly_changed(received(resolved))
    await indexer.anomaly_changed(received(AnomalyUpdated(anomaly=anomaly(revision=3))))
    assert await rows(sessions, "SELECT revision, state FROM search_documents") == [(4, "resolved")]


async def test_an_anomaly_that_is_called_a_false_positive_is_found_as_one(
    indexer: Indexer, sessions: db.Sessions, anomaly: NewAnomaly, received: AsReceived
) -> None:
    called = anomaly(revision=5, state="false_positive", end=NOW)
    said: dict[str, Any] = {"label": "false_positive", "comment": "", "labelled_at": NOW, "labelled_by": "olga"}
    await indexer.anomaly_changed(received(AnomalyLabelled(anomaly=called, **said)))
    assert await rows(sessions, "SELECT revision, state FROM search_documents") == [(5, "false_positive")]


async def test_a_log_template_is_indexed_until_it_is_removed(
    indexer: Indexer, sessions: db.Sessions, log_template: NewLogTemplate, received: AsReceived
) -> None:
    await indexer.log_template_changed(received(LogTemplateDiscovered(log_template=log_template())))
    grown = log_template(revision=2, template="cart <*> paid by <*>")
    await indexer.log_template_changed(received(LogTemplateUpdated(log_template=grown)))
    documents = "SELECT kind, title, service, deleted FROM search_documents"
    assert await rows(sessions, documents) == [("log_template", "cart <*> paid by <*>", "shop", False)]
    removed = LogTemplateRemoved(log_template_id=UUID(int=4), revision=3, service="shop", merged_into=UUID(int=5))
    await indexer.log_template_removed(received(removed))
    await indexer.log_template_changed(received(LogTemplateUpdated(log_template=grown)))
    assert [row[3] for row in await rows(sessions, documents)] == [True]


async def test_what_cannot_be_embedded_is_neither_indexed_nor_noted(
    sessions: db.Sessions, requirement: NewRequirement, received: AsReceived
) -> None:
    async def broken(texts: list[str]) -> Vectors:
        raise RuntimeError("no encoder")

    async with Embedder(broken) as embedder:
        indexer = Indexer(sessions, OneIndex(embedder))
        with pytest.raises(RuntimeError, match="no encoder"):
            await indexer.requirement_changed(received(RequirementCreated(requirement=requirement())))
    for table in ("search_documents", "inbox", "outbox"):
        assert await rows(sessions, f"SELECT 1 FROM {table}") == []


def test_every_event_that_is_declared_has_a_handler(sessions: db.Sessions, serving: Serving) -> None:
    subscription = consumer.subscription(sessions, serving, 16)
    assert set(subscription.handlers) == set(consumer.CONSUMES)
    assert subscription.producers == ["analysis", "requirements"]
    assert subscription.concurrency == 16


async def test_an_incident_is_indexed_until_it_is_part_of_another(
    indexer: Indexer, sessions: db.Sessions, incident: NewIncident, received: AsReceived
) -> None:
    resolved = incident(revision=3, state="resolved", resolved_at=NOW)
    for event in (
        IncidentOpened(incident=incident()),
        IncidentClosed(incident=resolved),
        IncidentUpdated(incident=incident(revision=2), change="commented"),
    ):
        await indexer.incident_changed(received(event))
    ((revision, deleted, title, state_of_it, found),) = await state(sessions)
    assert (revision, deleted, state_of_it, found) == (3, False, "resolved", True)
    assert title.startswith("Latency of cart rose to 612 ms")
    gone = incident(revision=4, state="merged", merged_into=UUID(int=6))
    await indexer.incident_changed(received(IncidentClosed(incident=gone)))
    assert await state(sessions) == [(4, True, "", None, False)]
