"""An answer is given again as long as it is right, and no longer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import LIVE, NOW, OneIndex, Put, axis, document
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.documents import indexing
from plumbline_search.postings import merging
from plumbline_search.postings.merging import Merger
from plumbline_search.searches import answers, counting, looking, repository, service
from plumbline_search.searches.answers import Answers
from plumbline_search.searches.filters import IsIn
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.repository import Gate
from plumbline_search.searches.schemas import SearchRequest

ALICE, BOB, CAROL = (
    UserInfo(name, frozenset({"viewer"}), frozenset(teams))
    for name, teams in (("alice", []), ("bob", ["storage"]), ("carol", ["payments"]))
)
_RETIRE = text("UPDATE search_documents SET state = 'retired'")


class Asking:
    """Asks the same again and again, and counts how often an answer was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reading: AsyncSession) -> None:
        self.made = 0
        self._reading = reading
        self.tools = Tools(OneIndex(None))
        self.others = Tools(OneIndex(None))
        """Of another process."""
        searched = service._answered

        async def counted(*arguments: Any) -> Any:
            self.made += 1
            return await searched(*arguments)

        monkeypatch.setattr(service, "_answered", counted)

    async def __call__(self, actor: UserInfo = ALICE, tools: Tools | None = None, **request: Any) -> Any:
        asked = SearchRequest.model_validate({"query": "checkout", "legs": ["lexical"]} | request)
        return orjson.loads(await service.answer(self._reading, tools or self.tools, asked, actor))


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch, reading: AsyncSession) -> Asking:
    return Asking(monkeypatch, reading)


def states(answer: Any) -> list[str | None]:
    return [hit["state"] for hit in answer["items"]]


async def test_it_is_made_once(put: Put, asking: Asking) -> None:
    await put(document(state="active"))
    first, again = await asking(), await asking()
    assert asking.made == 1
    assert {**first, "took_ms": None} == {**again, "took_ms": None}
    assert (again["took_ms"]["lexical"], again["took_ms"]["total"] > 0) == (0, True)
    await asking(limit=1)
    assert asking.made == 2


async def test_it_is_made_anew_with_each_change(put: Put, asking: Asking, sessions: db.Sessions) -> None:
    await put(document(1, state="active"))
    assert states(await asking()) == ["active"]
    async with sessions.begin() as session:
        await session.execute(_RETIRE)
    assert states(await asking()) == ["retired"]
    await put(document(2, state="open"))
    assert sorted(states(await asking())) == ["open", "retired"]
    assert asking.made == 3


async def test_what_is_committed_later_than_it_began_counts(put: Put, asking: Asking, sessions: db.Sessions) -> None:
    """A transaction that is older than the answer, and not over when that was made."""
    await put(document(1, state="active"))
    async with sessions() as session:
        await session.execute(_RETIRE)
        assert states(await asking()) == ["active"]
        assert states(await asking()) == ["active"]
        await session.commit()
    assert states(await asking()) == ["retired"]
    assert asking.made == 2


async def test_what_changes_while_it_is_made_counts(
    put: Put, asking: Asking, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(document(1, state="active"))
    described = repository.described

    async def then_retired(*arguments: Any) -> Any:
        found = await described(*arguments)
        async with sessions.begin() as session:
            await session.execute(_RETIRE)
        return found

    monkeypatch.setattr(repository, "described", then_retired)
    assert states(await asking()) == ["active"]
    monkeypatch.setattr(repository, "described", described)
    assert states(await asking()) == ["retired"]


async def test_nobody_is_given_the_answer_to_another_s_question(put: Put, asking: Asking) -> None:
    await put(document(1, readers=["payments"]))
    assert len((await asking(CAROL))["items"]) == 1
    assert (await asking(BOB))["items"] == []
    assert asking.made == 2


async def test_a_vector_is_always_looked_for(put: Put, asking: Asking) -> None:
    await put(document())
    for _ in range(2):
        await asking(query=None, vector=[1.0] + [0.0] * 383, legs=["vector"])
    assert asking.made == 2


async def test_after_a_while_it_is_made_anew(put: Put, asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_SECONDS", 0)
    await put(document())
    await asking()
    await asking()
    assert asking.made == 2


async def test_no_more_is_kept_than_there_is_room_for(reading: AsyncSession) -> None:
    kept = Answers(1)
    look = await looking.look(reading, LIVE)
    for number in range(5):
        kept.put(bytes([number]), bytes(400_000), look)
    found = [await kept.get(reading, bytes([number]), look) is not None for number in range(5)]
    assert found == [False, False, False, True, True]


@contextlib.asynccontextmanager
async def leaving(tools: Tools, sessions: db.Sessions) -> AsyncIterator[None]:
    """What these tools put is left for others until the context ends."""
    task = asyncio.create_task(tools.answers.run(sessions))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def left(sessions: db.Sessions, number: int) -> bool:
    async with sessions() as session:
        return (await session.execute(text("SELECT count(*) FROM search_answers"))).scalar_one() == number


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await look():
            await asyncio.sleep(0.02)


async def test_another_process_gives_what_was_left(put: Put, asking: Asking, sessions: db.Sessions) -> None:
    await put(document(1, state="active", readers=["payments"]))
    async with leaving(asking.tools, sessions):
        mine = await asking(CAROL)
        await until(lambda: left(sessions, 1))
    theirs = await asking(CAROL, asking.others)
    assert {**mine, "took_ms": None} == {**theirs, "took_ms": None}
    assert asking.made == 1
    # From then on it is theirs, too.
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM search_answers"))
    await asking(CAROL, asking.others)
    assert asking.made == 1
    assert (await asking(BOB, asking.others))["items"] == []
    async with sessions.begin() as session:
        await session.execute(_RETIRE)
    assert states(await asking(CAROL, asking.others)) == ["retired"]


@pytest.mark.parametrize("how", ["changed", "merged", "late"])
async def test_what_was_left_is_not_given_once_it_may_be_wrong(
    put: Put, asking: Asking, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "late":
        monkeypatch.setattr(answers, "_SECONDS", 0.3)
    monkeypatch.setattr(merging, "FRESH", 1)
    await put(document(1, state="active"))
    async with leaving(asking.tools, sessions):
        await asking()
        await until(lambda: left(sessions, 1))
    if how == "changed":
        async with sessions.begin() as session:
            await session.execute(_RETIRE)
    elif how == "merged":
        while await Merger(sessions).step():
            pass
    else:
        await asyncio.sleep(0.3)
    assert states(await asking(tools=asking.others)) == ["retired" if how == "changed" else "active"]
    assert asking.made == 2


async def test_what_is_too_old_is_removed_though_nobody_asks(
    put: Put, asking: Asking, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_SECONDS", 0.5)
    await put(document())
    async with leaving(asking.tools, sessions):
        await asking()
        await until(lambda: left(sessions, 1))
        await until(lambda: left(sessions, 0))


async def test_processes_that_leave_the_same_answers_do_not_get_in_each_other_s_way(
    reading: AsyncSession, sessions: db.Sessions
) -> None:
    look = await looking.look(reading, LIVE)
    some = Answers(), Answers()
    async with contextlib.AsyncExitStack() as running:
        for each in some:
            await running.enter_async_context(leaving(Tools(OneIndex(None), answers=each), sessions))
        for turn in range(10):
            for each, numbers in zip(some, (range(100), range(99, -1, -1)), strict=True):
                for number in numbers:
                    each.put(bytes([number]), f"{turn}".encode(), look)
            await asyncio.sleep(0.02)
        await until(lambda: left(sessions, 100))


@pytest.mark.parametrize("few", [12_000, 0])
async def test_a_search_notices_what_was_written_and_merged_since_the_one_before(
    put: Put, asking: Asking, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """The same tools: what the search before saw is taken to be there until a statement tells otherwise."""
    monkeypatch.setattr(counting, "FEW", few)
    monkeypatch.setattr(merging, "FRESH", 1)
    meaning = {"query": None, "vector": axis(0).tolist(), "legs": ["vector"]}
    for number in range(1, 6):
        await put(document(number, title=f"Checkout {number}"))
        if number % 2:
            while await Merger(sessions).step():
                pass
        assert len((await asking())["items"]) == number
        assert len((await asking(**meaning))["items"]) == number
        assert len((await asking(**meaning, service="none"))["items"]) == 0
    async with sessions.begin() as session:
        await indexing.remove(session, "requirement", UUID(int=2), 1, NOW)
    assert len((await asking(**meaning))["items"]) == 4
    assert len((await asking())["items"]) == 4


async def test_versions_that_filters_let_through_are_listed_again_only_after_a_change(
    put: Put, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_KEPT_FROM", 1)
    probes = 0
    probe = repository.probe

    async def counted(*arguments: Any) -> Any:
        nonlocal probes
        probes += 1
        return await probe(*arguments)

    monkeypatch.setattr(repository, "probe", counted)
    counter = counting.Counter()
    gate = Gate(IsIn.model_validate({"facet": "service", "in": ["checkout"]}))

    async def few() -> int:
        look = await looking.look(reading, LIVE)
        look.is_checked = False
        versions = await counter.few(reading, gate, look)
        assert versions is not None
        return len(versions)

    await put(document(1, service="checkout"))
    assert (await few(), await few(), probes) == (1, 1, 1)
    await put(document(2, service="checkout"))
    assert (await few(), await few(), probes) == (2, 2, 2)
    await put(document(1, service="archive", revision=2))
    assert (await few(), probes) == (1, 3)
