"""A document that came is compared with others and with saved searches; what that leads to is told once."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import LIVE, NOW, OneIndex, Put, axis, document, near
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.arrivals import processing
from plumbline_search.arrivals.processing import Arrivals
from plumbline_search.documents import indexing
from plumbline_search.saved import service as saved
from plumbline_search.saved.schemas import SavedSearchContent
from plumbline_search.searches.legs import Tools

EDITOR = UserInfo("ed", frozenset({"editor"}), frozenset({"storage"}))


@pytest.fixture
def arrivals(sessions: db.Sessions) -> Arrivals:
    return Arrivals(sessions, Tools(OneIndex()))


async def events(session: AsyncSession, subject: str) -> list[dict[str, Any]]:
    rows = await session.execute(
        text("SELECT data FROM outbox WHERE subject = :subject ORDER BY seq"), {"subject": subject}
    )
    return [json.loads(each) if isinstance(each, str) else each for each in rows.scalars()]


async def told(session: AsyncSession) -> list[tuple[int, str]]:
    found = await events(session, "search.search.matched.v1")
    return [(UUID(each["entity_id"]).int, each["name"]) for each in found]


async def pairs(session: AsyncSession) -> list[tuple[int, list[int]]]:
    found = await events(session, "search.duplicate.suspected.v1")
    return [
        (UUID(each["requirement_id"]).int, [UUID(pair["requirement_id"]).int for pair in each["pairs"]])
        for each in found
    ]


async def save(sessions: db.Sessions, name: str, **content: Any) -> None:
    async with sessions.begin() as session:
        await saved.create(
            session, SavedSearchContent.model_validate({"team": "storage", "name": name, **content}), EDITOR
        )


async def all_taken(arrivals: Arrivals) -> None:
    while await arrivals.step():
        pass


class TestDuplicates:
    async def test_near_duplicates_of_its_service_and_nearer_ones_of_others_are_suspected(
        self, put: Put, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await put(document(1, key="REQ-1", service="checkout"), axis(0))
        await put(document(2, key="REQ-2", service="checkout", title="Checkout is quick"), near(axis(0), 0.86, 1))
        await put(document(3, service="payments"), near(axis(0), 0.86, 2))
        await put(document(4, service="payments", title="Payments answer"), near(axis(0), 0.95, 3))
        await put(document(5, service="checkout"), axis(7))
        await put(document(6, kind="runbook", service="checkout"), axis(0))
        await put(document(7, service="checkout", state="retired"), axis(0))
        await all_taken(arrivals)
        assert await pairs(reading) == [(1, [4, 2]), (2, [1]), (4, [1])]
        (first, *_) = await events(reading, "search.duplicate.suspected.v1")
        assert first["requirement_key"] == "REQ-1"
        assert first["model"] == LIVE.model
        second = first["pairs"][1]
        assert (second["same_service"], second["requirement_key"]) == (True, "REQ-2")
        assert second["similarity"] == pytest.approx(0.86, abs=1e-3)
        assert second["shared_words"] == ["checkout", "payments", "within", "300", "ms"]

    async def test_they_are_told_again_with_each_new_text_and_not_with_a_new_state(
        self, put: Put, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await put(document(1, service="checkout"))
        await put(document(2, service="checkout"))
        await all_taken(arrivals)
        assert await pairs(reading) == [(1, [2]), (2, [1])]
        await put(document(2, service="checkout", revision=2, state="active"))
        await all_taken(arrivals)
        assert len(await pairs(reading)) == 2
        await put(document(2, service="checkout", revision=3, body="Other words."))
        await all_taken(arrivals)
        assert (await pairs(reading))[2:] == [(2, [1])]

    async def test_two_that_come_at_the_same_time_meet(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        workers = [Arrivals(sessions, Tools(OneIndex())) for _ in range(3)]

        async def write(number: int) -> None:
            await put(document(number, service="checkout"))

        await asyncio.gather(*(write(number) for number in range(1, 21)), *(worker.step() for worker in workers))
        await asyncio.gather(*(all_taken(worker) for worker in workers))
        met = {frozenset((one, other)) for one, others in await pairs(reading) for other in others}
        assert len(met) == 190

    async def test_what_was_deleted_meanwhile_is_passed_over(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await put(document(1, service="checkout"))
        await put(document(2, service="checkout"))
        async with sessions.begin() as session:
            await indexing.remove(session, "requirement", UUID(int=2), 1, NOW)
        await all_taken(arrivals)
        assert await pairs(reading) == []


class TestSavedSearches:
    async def test_a_document_that_comes_and_matches_is_told_once(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await save(sessions, "disks", query="disk full", kinds=["runbook"])
        await save(sessions, "database", service="database")
        await save(sessions, "critical", filter={"facet": "severity", "in": ["critical"]})
        await put(document(1, kind="runbook", title="The disk is full", service="database"))
        await put(document(2, kind="anomaly", title="The disk is full", facets={"severity": "critical"}))
        await put(document(3, kind="runbook", title="The disk is slow"))
        await all_taken(arrivals)
        assert await told(reading) == [(1, "disks"), (1, "database"), (2, "critical")]
        await put(document(1, kind="runbook", title="The disk is full again", service="database", revision=2))
        await put(document(3, kind="runbook", title="The disk is full", revision=2))
        await all_taken(arrivals)
        assert (await told(reading))[3:] == [(3, "disks")]
        (event, *_) = await events(reading, "search.search.matched.v1")
        assert (event["team"], event["kind"], event["service"]) == ("storage", "runbook", "database")

    async def test_what_was_there_before_it_was_saved_is_not_told_by_a_new_state(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await put(document(1, title="disk"))
        await save(sessions, "disks", query="disk")
        await all_taken(arrivals)
        await put(document(1, title="disk", state="active", revision=2))
        await all_taken(arrivals)
        assert await told(reading) == []
        await put(document(1, title="disk full", revision=3))
        await all_taken(arrivals)
        assert await told(reading) == [(1, "disks")]

    async def test_what_comes_to_match_by_its_state_is_told(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await save(sessions, "open", filter={"facet": "state", "in": ["open"]})
        await put(document(1, kind="anomaly", state="acknowledged"))
        await all_taken(arrivals)
        await put(document(1, kind="anomaly", state="open", revision=2))
        await all_taken(arrivals)
        assert await told(reading) == [(1, "open")]

    async def test_what_its_team_may_not_read_is_not_told(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals
    ) -> None:
        await save(sessions, "disks", query="disk")
        await put(document(1, kind="runbook", title="disk", readers=["payments"]))
        await put(document(2, kind="runbook", title="disk", readers=["payments", "storage"]))
        await all_taken(arrivals)
        assert await told(reading) == [(2, "disks")]


async def test_what_cannot_be_done_with_one_document_stops_no_other(
    put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(sessions, "all", kinds=["runbook"])
    for number in range(1, 4):
        await put(document(number, kind="runbook", title="poison" if number == 2 else "good"))
    of = processing.matching.Text.of

    def broken(key: Any, title: str, body: str) -> Any:
        if title == "poison":
            raise RuntimeError("cannot be read")
        return of(key, title, body)

    monkeypatch.setattr(processing.matching.Text, "of", broken)
    await all_taken(arrivals)
    assert await told(reading) == [(1, "all"), (3, "all")]


async def test_a_crash_before_the_commit_loses_no_arrival(
    put: Put, sessions: db.Sessions, reading: AsyncSession, arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(sessions, "disks", query="disk")
    await put(document(1, title="disk"))

    async def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(processing.repository, "told", crash)
        await arrivals.step()
    await all_taken(arrivals)
    assert await told(reading) == [(1, "disks")]
