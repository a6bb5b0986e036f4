"""Turns of sources against the real database and a server on its bad days."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

import bad_days
from bad_days import BadDays, answer, matrix
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.puller import Passed, Puller
from plumbline_analysis.pulls import rules, service
from plumbline_analysis.pulls.asking import Asker
from plumbline_analysis.pulls.repository import Claim
from plumbline_analysis.pulls.schemas import PrometheusSource, SourceResponse
from plumbline_analysis.settings import Settings
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Unavailable

STEP = 15
OPERATOR = UserInfo("olga", frozenset({"operator"}), frozenset())


class Pulling:
    """A source, and processes that pull it by a clock of their own."""

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings, fake: BadDays) -> None:
        self.sessions, self.read_sessions = sessions, read_sessions
        self.settings = settings.model_copy(update={"pull_allowed": ("127.0.0.1",)})
        self.fake = fake
        self.now = 0.0
        self.pullers: list[Puller] = []

    async def add(self, *queries: str, **members: Any) -> UUID:
        spec = {
            "url": self.fake.url,
            "queries": [{"name": query, "query": query} for query in queries or ("orders",)],
            "up": False,
            "requests_per_second": 100,
        }
        content = {"name": "eu", "kind": "prometheus", "spec": spec, "backfill_seconds": 600} | members
        async with self.sessions.begin() as session:
            self.now = (await session.execute(text("SELECT extract(epoch FROM now())::float"))).scalar_one()
            asker = Asker(self.settings)
            made = await service.create(session, PrometheusSource.model_validate(content), OPERATOR, asker.targets)
        self.id = made.id
        return made.id

    def process(self) -> Puller:
        """Another one, whose tasks the test runs by hand."""
        asker = Asker(self.settings)
        puller = Puller(self.sessions, self.read_sessions, self.settings, Directory(), asker, lambda: self.now)
        puller._follow = lambda claim: asyncio.Event().wait()  # type: ignore[method-assign]
        self.pullers.append(puller)
        return puller

    async def turn(self, puller: Puller, claim: Claim | None = None) -> float:
        if claim is None:
            (claim,) = await puller.claim()
        async with self.read_sessions() as session:
            spec = (await service.one(session, self.id)).spec
        async with contextlib.aclosing(puller._asker.client(spec, "eu")) as client:
            return await puller.turn(claim, client, {})

    async def source(self) -> SourceResponse:
        async with self.read_sessions() as session:
            return await service.one(session, self.id)

    async def times(self, metric: str = "orders") -> list[int]:
        """Of the stored points, in seconds."""
        async with self.read_sessions() as session:
            rows = await session.execute(
                text(
                    "SELECT extract(epoch FROM ts)::bigint AS at, value FROM number_points JOIN signals"
                    " ON signal = number WHERE metric = :metric ORDER BY ts"
                ),
                {"metric": metric},
            )
            found = rows.all()
        assert all(row.value == row.at // STEP for row in found)
        return [row.at for row in found]

    async def told(self) -> list[str]:
        async with self.read_sessions() as session:
            return list(await session.scalars(text("SELECT subject FROM outbox ORDER BY seq")))


@pytest.fixture
async def pulling(sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings, fake: BadDays) -> Any:
    pulling = Pulling(sessions, read_sessions, settings, fake)
    yield pulling
    for puller in pulling.pullers:
        await puller._end(list(puller._tasks), None)


def whole(times: list[int], since: int) -> bool:
    """Whether each point of the grid after `since` is there once."""
    return times == list(range(since + STEP, since + STEP + len(times) * STEP, STEP))


async def test_the_first_turn_takes_the_history_and_the_next_what_is_new(pulling: Pulling) -> None:
    await pulling.add()
    puller = pulling.process()
    assert await pulling.turn(puller) > 50
    newest = rules.head(pulling.now, 10, STEP)
    assert await pulling.times() == list(range(newest - 600 + STEP, newest + 1, STEP))
    pulling.now += 60
    await pulling.turn(puller)
    assert whole(await pulling.times(), newest - 600)
    source = await pulling.source()
    assert (source.status.state, source.status.points, source.status.last_error) == ("healthy", 44, None)
    assert source.status.backfill is not None
    assert source.status.backfill.done == 1.0
    assert len(pulling.fake.asked) == 2


async def test_after_an_outage_the_newest_comes_first_and_nothing_is_missing(pulling: Pulling) -> None:
    await pulling.add(backfill_seconds=2 * 86_400)
    await pulling.turn(pulling.process())
    since = rules.head(pulling.now, 10, STEP) - 2 * 86_400
    first, *later = [(int(form["start"]), int(form["end"])) for form in pulling.fake.asked]
    assert first[1] - first[0] == 239 * STEP
    assert later[0][0] == since + STEP
    assert [end + STEP for _, end in later] == [start for start, _ in [*later[1:], first]]
    times = await pulling.times()
    assert len(times) == 2 * 86_400 // STEP
    assert whole(times, since)


async def test_two_processes_do_not_double_and_one_that_lost_its_right_stores_nothing(pulling: Pulling) -> None:
    await pulling.add()
    one, other = pulling.process(), pulling.process()
    (claim,) = await one.claim()
    assert await other.claim() == []
    async with pulling.sessions.begin() as session:
        await session.execute(text("UPDATE pull_sources SET until = now() - interval '1 second'"))
    await pulling.turn(other)
    before = await pulling.times()
    pulling.now += 60
    with pytest.raises(Passed):
        await pulling.turn(one, claim)
    assert await one.claim() == []
    assert await pulling.times() == before
    assert (await pulling.source()).status.points == len(before)


@pytest.mark.parametrize(
    "line", ["points.store", "repository.keep_marks", "repository.count_points", "service.succeeded"]
)
async def test_a_process_that_dies_at_any_line_loses_and_doubles_nothing(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    await pulling.add()
    puller = pulling.process()

    async def dies(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(f"plumbline_analysis.puller.{line}", dies)
        with pytest.raises(asyncio.CancelledError):
            await pulling.turn(puller)
    stored = await pulling.times()
    assert (await pulling.source()).status.points == len(stored)
    assert bool(stored) == (line == "service.succeeded")
    await pulling.turn(pulling.process(), *await puller.claim())
    assert len(await pulling.times()) == 40 == (await pulling.source()).status.points


async def test_what_can_not_be_stored_is_told_and_pulled_again(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pulling.add()
    puller = pulling.process()

    async def fails(*_: Any) -> None:
        raise Unavailable("the tables are not there")

    with monkeypatch.context() as patch:
        patch.setattr("plumbline_analysis.puller.points.store", fails)
        await pulling.turn(puller)
    error = (await pulling.source()).status.last_error
    assert error is not None
    assert (error.reason, error.query) == ("internal", None)
    await pulling.turn(puller)
    assert len(await pulling.times()) == 40


async def test_a_database_clock_that_stepped_back_does_not_stop_the_pulling(pulling: Pulling) -> None:
    await pulling.add()
    await pulling.process().claim()
    async with pulling.sessions.begin() as session:
        await session.execute(text("UPDATE pull_sources SET until = now() + interval '1 hour'"))
    assert len(await pulling.process().claim()) == 1


async def test_a_clock_that_stepped_back_does_not_stop_the_pulling_either(pulling: Pulling) -> None:
    await pulling.add()
    puller = pulling.process()
    await pulling.turn(puller)
    pulling.now -= 300
    await pulling.turn(puller)
    pulling.now += 60
    pulling.fake.asked.clear()
    await pulling.turn(puller)
    (form,) = pulling.fake.asked
    assert int(form["end"]) == rules.head(pulling.now, 10, STEP)
    assert len(await pulling.times()) == 40


async def test_a_source_that_fails_tells_why_and_recovers_without_a_gap(pulling: Pulling) -> None:
    await pulling.add()
    puller = pulling.process()
    await pulling.turn(puller)
    since = (await pulling.times())[0] - STEP
    pulling.fake.behaviour = answer(b"<html>", kind="text/html")
    waits = []
    for _ in range(6):
        pulling.now += 60
        waits.append(await pulling.turn(puller))
    failing = (await pulling.source()).status
    assert (failing.state, failing.last_error.reason, failing.last_error.query) == ("failing", "html", "orders")
    assert failing.next_try is not None
    assert waits[2] < 70 < 200 < waits[4]
    pulling.fake.behaviour = bad_days.good
    await pulling.turn(puller)
    well = (await pulling.source()).status
    assert (well.state, well.failing_since, well.next_try) == ("healthy", None, None)
    assert well.last_error is not None
    assert whole(await pulling.times(), since)
    assert await pulling.told() == ["analysis.source.failing.v1", "analysis.source.recovered.v1"]


async def test_whatever_a_source_says_can_be_stored(pulling: Pulling) -> None:
    await pulling.add("orders")
    puller = pulling.process()
    pulling.fake.once = [answer(b'{"status":"error","errorType":"bad_data","error":"a\\u0000b"}', "400 Bad")]
    await pulling.turn(puller)
    error = (await pulling.source()).status.last_error
    assert error is not None
    assert error.detail == "query: ab"
    pulling.fake.once = [answer(matrix(({"job": "a\x00b"}, [[int(pulling.now), "1"]]), warnings=["c\x00d"]))]
    await pulling.turn(puller)
    status = (await pulling.source()).status
    assert (status.state, status.warnings[0]) == ("healthy", "cd")


async def test_a_passing_failure_is_tried_again_within_the_turn(pulling: Pulling) -> None:
    await pulling.add()
    busy = answer(b"", "429 Too Many Requests", "text/plain", Retry_After="0")
    pulling.fake.once = [busy, bad_days.half]
    await pulling.turn(pulling.process())
    assert (await pulling.source()).status.state == "healthy"
    assert len(pulling.fake.asked) == 3
    assert await pulling.told() == []


async def test_a_source_that_asks_for_a_pause_gets_it(pulling: Pulling) -> None:
    await pulling.add()
    pulling.fake.behaviour = answer(b"", "429 Too Many Requests", "text/plain", Retry_After="900")
    assert await pulling.turn(pulling.process()) == 900
    assert len(pulling.fake.asked) == 1


async def test_a_query_that_is_refused_does_not_keep_the_others_from_theirs(pulling: Pulling) -> None:
    await pulling.add("bad", "orders")
    said = b'{"status":"error","errorType":"bad_data","error":"1:2: parse error"}'
    pulling.fake.behaviours["bad"] = answer(said, "400 Bad Request")
    assert await pulling.turn(pulling.process()) > 50
    assert len(await pulling.times()) == 40
    status = (await pulling.source()).status
    assert status.last_error is not None
    assert (status.state, status.last_error.query) == ("failing", "bad")
    assert status.last_error.detail == "query: 1:2: parse error"
    assert status.next_try is None


async def test_an_answer_that_is_too_large_is_asked_for_in_parts(pulling: Pulling) -> None:
    pulling.settings = pulling.settings.model_copy(update={"pull_limit_bytes": 1024})
    await pulling.add(backfill_seconds=3600)
    await pulling.turn(pulling.process())
    assert len(await pulling.times()) == 240
    assert (await pulling.source()).status.state == "healthy"
    assert len(pulling.fake.asked) > 8


async def test_what_changed_begins_anew_and_what_did_not_goes_on(pulling: Pulling) -> None:
    await pulling.add("orders", "other")
    puller = pulling.process()
    (claim,) = await puller.claim()
    await pulling.turn(puller, claim)
    now = await pulling.source()
    content = now.model_dump(mode="json", include={*PrometheusSource.model_fields})
    content["spec"]["queries"][1]["query"] = "another"
    async with pulling.sessions.begin() as session:
        changed = PrometheusSource.model_validate(content)
        await service.replace(session, now.id, changed, '"1"', OPERATOR, puller._asker.targets)
    with pytest.raises(Passed):
        await pulling.turn(puller, claim)
    pulling.fake.asked.clear()
    await pulling.turn(puller)
    assert [form["query"] for form in pulling.fake.asked] == ["another"]


async def test_a_source_that_stalls_does_not_delay_another(pulling: Pulling) -> None:
    await pulling.add("stalls")
    await pulling.add("orders", name="us")
    pulling.fake.behaviours["stalls"] = bad_days.stall
    puller = pulling.process()
    del puller._follow  # type: ignore[attr-defined]
    await puller.claim()
    async with asyncio.timeout(8):
        while len(await pulling.times()) < 40:
            await asyncio.sleep(0.02)
    assert len([form for form in pulling.fake.asked if form["query"] == "stalls"]) == 1
