import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from plumbline_analysis.consumer import subscription
from plumbline_analysis.models import BudgetAdjustment, WatchedRequirement
from plumbline_common import bus, db
from plumbline_common.events import (
    BudgetAdjusted,
    Event,
    Received,
    RequirementCreated,
    RequirementDeleted,
    RequirementTransitioned,
    RequirementUpdated,
)
from plumbline_common.schemas import RequirementSnapshot

ID = UUID("0190a8a0-0000-7000-8000-0000000000aa")
AT = "2026-01-01T00:00:00Z"


def snapshot(revision: int = 1, status: str = "active", after: int = 0, **members: Any) -> RequirementSnapshot:
    given: dict[str, Any] = {
        "id": ID,
        "key": "REQ-1",
        "revision": revision,
        "title": f"Revision {revision}",
        "description": "",
        "statement": "",
        "rationale": "",
        "type": "latency",
        "priority": "must",
        "owner_team": None,
        "service": "shop",
        "slos": [],
        "verification_method": "",
        "labels": {},
        "fingerprint": "f",
        "status": status,
        "created_at": AT,
        "created_by": "alice",
        "updated_at": AT,
        "updated_by": "alice",
    }
    made = RequirementSnapshot.model_validate(given | members)
    return made.model_copy(update={"updated_at": made.updated_at + timedelta(seconds=after)})


class Arrivals:
    """Hands events to the handlers of the subscription, as the bus does."""

    def __init__(self, sessions: db.Sessions) -> None:
        self._sessions = sessions
        self._handlers: Mapping[type[Event], bus.Handler] = subscription(sessions).handlers
        self._position = 0

    async def arrive(self, event: Event, position: int | None = None) -> None:
        self._position += 1
        at = position or self._position
        received = Received(UUID(int=at), "requirements", at, snapshot().updated_at, event)
        await self._handlers[type(event)](received)

    async def watched(self) -> WatchedRequirement | None:
        async with self._sessions() as session:
            return (await session.execute(select(WatchedRequirement))).scalar_one_or_none()


@pytest.fixture
def arrivals(sessions: db.Sessions) -> Arrivals:
    return Arrivals(sessions)


def created(requirement: RequirementSnapshot) -> Event:
    return RequirementCreated(requirement=requirement)


def updated(requirement: RequirementSnapshot) -> Event:
    return RequirementUpdated(requirement=requirement, changed=["title"])


def transitioned(requirement: RequirementSnapshot) -> Event:
    return RequirementTransitioned(requirement=requirement, previous="draft", actor="rita")


async def test_a_requirement_is_kept_as_it_was_last_told(arrivals: Arrivals) -> None:
    await arrivals.arrive(created(snapshot(1, "draft")))
    found = await arrivals.watched()
    assert found is not None
    assert not found.in_force
    await arrivals.arrive(transitioned(snapshot(1, "active", after=1)))
    await arrivals.arrive(updated(snapshot(2, after=2)))
    found = await arrivals.watched()
    assert found is not None
    assert (found.revision, found.title, found.in_force, found.service) == (2, "Revision 2", True, "shop")


async def test_an_older_state_never_overwrites_a_newer_one(arrivals: Arrivals) -> None:
    await arrivals.arrive(updated(snapshot(3, after=9)))
    await arrivals.arrive(updated(snapshot(2, after=5)))
    await arrivals.arrive(created(snapshot(1, "draft")))
    await arrivals.arrive(transitioned(snapshot(3, "draft", after=8)))
    found = await arrivals.watched()
    assert found is not None
    assert (found.revision, found.in_force) == (3, True)


async def test_what_is_in_force_stays_watched_while_a_change_is_drafted(arrivals: Arrivals) -> None:
    active = snapshot(4, in_force=4)
    drafted = RequirementUpdated(
        requirement=snapshot(5, "draft", after=1, in_force=4), in_force=active, changed=["title"]
    )
    # In either order: the draft may be heard of before what it changes.
    await arrivals.arrive(drafted)
    await arrivals.arrive(transitioned(active))
    found = await arrivals.watched()
    assert found is not None
    assert (found.revision, found.title, found.in_force, found.head_revision) == (4, "Revision 4", True, 5)
    await arrivals.arrive(transitioned(snapshot(8, after=2, in_force=8)))
    found = await arrivals.watched()
    assert found is not None
    assert (found.revision, found.title, found.in_force) == (8, "Revision 8", True)
    await arrivals.arrive(transitioned(snapshot(10, "retired", after=3)))
    found = await arrivals.watched()
    assert found is not None
    assert not found.in_force


async def test_a_deletion_is_remembered_whenever_it_arrives(arrivals: Arrivals) -> None:
    await arrivals.arrive(RequirementDeleted(requirement_id=ID, revision=2, actor="alice"))
    await arrivals.arrive(created(snapshot(1)))
    await arrivals.arrive(updated(snapshot(7, after=60)))
    found = await arrivals.watched()
    assert found is not None
    assert found.deleted
    assert not found.in_force


async def test_a_double_has_no_effect(arrivals: Arrivals, sessions: db.Sessions) -> None:
    await arrivals.arrive(created(snapshot(1)), position=5)
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM watched_requirements"))
    await arrivals.arrive(created(snapshot(1)), position=5)
    assert await arrivals.watched() is None


async def test_events_that_are_published_arrive(app: Any, nats_server: Any, arrivals: Arrivals) -> None:
    producer = bus.Broker(nats_server.url("requirements"), "test")
    await producer.connect()
    await producer.ensure_streams(["requirements"])
    for position, event in enumerate((created(snapshot(1, "draft")), transitioned(snapshot(1, after=1))), 1):
        await producer.js.publish(
            f"plumbline.{event.subject}",
            event.model_dump_json().encode(),
            headers={
                "ce-specversion": "1.0",
                "ce-id": str(UUID(int=position)),
                "ce-time": AT,
                "ce-sequence": str(position),
            },
        )
    await producer.close()
    async with asyncio.timeout(15):
        while (found := await arrivals.watched()) is None or not found.in_force:
            await asyncio.sleep(0.05)
    assert found.title == "Revision 1"


def adjusted(revision: int, *hours: int) -> Event:
    windows = [{"start": f"2026-01-01T{hour:02}:00:00Z", "end": f"2026-01-01T{hour:02}:30:00Z"} for hour in hours]
    scope = {"requirement_ids": [ID], "service": None, "team": None, "category": "other", "reason": "so"}
    return BudgetAdjusted.model_validate(
        {"adjustment": {"id": UUID(int=7), "revision": revision, "windows": windows} | scope, "at": AT}
    )


async def test_of_an_adjustment_the_newest_counts_whenever_it_comes(
    arrivals: Arrivals, sessions: db.Sessions
) -> None:
    for event in (adjusted(3, 4), adjusted(2, 4, 5), adjusted(3, 4)):
        await arrivals.arrive(event)
    async with sessions() as session:
        (kept,) = (await session.scalars(select(BudgetAdjustment))).all()
    assert (kept.revision, [each["start"] for each in kept.windows]) == (3, ["2026-01-01T04:00:00Z"])
