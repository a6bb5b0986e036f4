import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import NOW, Put, document
from plumbline_common import db
from plumbline_search.documents import repository as documents
from plumbline_search.postings import merging, repository
from plumbline_search.postings.merging import Merger
from plumbline_search.postings.reading import Reader
from plumbline_search.text import analysis


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges that are due after a few documents."""
    for name, value in (("FRESH", 4), ("BATCH", 4), ("FAN_IN", 3), ("_TERMS", 5)):
        monkeypatch.setattr(merging, name, value)


async def titles(session: AsyncSession, query: str, reader: Reader | None = None) -> list[str]:
    words = {analysis.term_id(term): 1.0 for term in analysis.terms(query)}
    matches = (await (reader or Reader()).matches(session, 0, words)).best(100)
    found = await session.execute(text("SELECT version, title FROM search_documents WHERE NOT deleted"))
    by_version = dict(tuple(row) for row in found)
    return [by_version[version] for version in matches.versions.tolist() if version in by_version]


def word(number: int) -> str:
    return chr(96 + number) * 4


async def levels(session: AsyncSession) -> list[tuple[int, int]]:
    rows = await session.execute(text("SELECT level, documents FROM search_runs ORDER BY level DESC, id"))
    return [tuple(row) for row in rows]


async def merged(sessions: db.Sessions) -> int:
    steps = 0
    while await Merger(sessions).step():
        steps += 1
    return steps


async def test_what_is_found_is_the_same_before_and_after_merging(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    for number in range(1, 14):
        await put(document(number, title=f"checkout {'slow ' * (number % 3)}number{number}", body=""))
    queries = ["slow checkout", "number7", "slow", "elsewhere"]
    before = [await titles(reading, query) for query in queries]
    assert len(before[0]) == 13
    assert await merged(sessions) == 4
    assert await levels(reading) == [(1, 12)]
    assert [await titles(reading, query) for query in queries] == before


async def test_what_was_replaced_or_deleted_leaves_the_index_with_the_next_merge(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    for number in range(1, 13):
        await put(document(number, title=word(number), body=""))
        await Merger(sessions).step()
        if number == 4:
            await put(document(1, revision=2, title="replaced", body=""))
            async with sessions.begin() as session:
                await documents.bury(session, "requirement", UUID(int=2), 1, NOW)
    await merged(sessions)
    assert set(await titles(reading, f"{word(1)} {word(2)} replaced {word(3)}")) == {"replaced", word(3)}
    # Of the twelve that were in the first three runs, two are gone.
    assert await levels(reading) == [(1, 10)]
    gone = {"ids": [analysis.term_id(word(1)), analysis.term_id(word(2))]}
    kept = await reading.execute(text("SELECT count(*) FROM search_postings WHERE term = ANY(:ids)"), gone)
    assert kept.scalar_one() == 0


async def test_a_run_whose_documents_have_gone_is_made_anew(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    for number in range(1, 5):
        await put(document(number, title=f"checkout {word(number)}", body=""))
    await merged(sessions)
    assert await levels(reading) == [(0, 4)]
    for number in (1, 2):
        async with sessions.begin() as session:
            await documents.bury(session, "requirement", UUID(int=number), 1, NOW)
    await merged(sessions)
    assert await levels(reading) == [(0, 2)]
    assert set(await titles(reading, "checkout")) == {f"checkout {word(3)}", f"checkout {word(4)}"}


async def test_a_reader_that_knows_runs_sees_what_came_of_them(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    reader = Reader()
    for number in range(1, 13):
        await put(document(number, title=f"checkout number{number}", body=""))
        await Merger(sessions).step()
        assert len(await titles(reading, "checkout", reader)) == number
    await merged(sessions)
    assert len(await titles(reading, "checkout", reader)) == 12


async def test_while_documents_come_and_runs_merge_nothing_is_missing_or_found_twice(
    put: Put, sessions: db.Sessions
) -> None:
    done = 0
    ended = asyncio.Event()

    async def write() -> None:
        nonlocal done
        for number in range(1, 61):
            await put(document(number, title=f"checkout number{number}", body=""))
            done = number
        ended.set()

    async def merge() -> None:
        while not ended.is_set():
            await Merger(sessions).step()
            await asyncio.sleep(0)

    async def look() -> None:
        reader = Reader()
        while not ended.is_set():
            before = done
            async with sessions() as session:
                connection = await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
                assert connection is not None
                found = await reader.matches(session, 0, {analysis.term_id("checkout"): 1.0})
            versions = found.versions.tolist()
            assert len(versions) == len(set(versions))
            assert len(versions) >= before

    await asyncio.gather(write(), merge(), merge(), look(), look())


async def test_a_merge_that_is_cut_off_changes_nothing(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 13):
        await put(document(number, title=f"checkout number{number}", body=""))
    for _ in range(3):
        await Merger(sessions).step()
    before = await levels(reading), await titles(reading, "checkout")

    async def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(merging.repository, "drop", crash)
        await Merger(sessions).step()
    assert (await levels(reading), await titles(reading, "checkout")) == before
    assert await merged(sessions) == 1
    assert await titles(reading, "checkout") == before[1]


async def test_the_lexicon_has_every_term_of_a_run(put: Put, sessions: db.Sessions, reading: AsyncSession) -> None:
    for number in range(1, 5):
        await put(document(number, title="KubePodCrashLooping", body=f"number{number % 2}"))
    await merged(sessions)
    rows = await reading.execute(text("SELECT term, documents FROM search_terms"))
    counted = dict(tuple(row) for row in rows)
    assert counted == {"kubepodcrashlooping": 4, "kube": 4, "pod": 4, "crash": 4, "loop": 4, "number0": 2,
                       "number1": 2, "number": 4, "0": 2, "1": 2}  # fmt: skip


async def test_a_search_keeps_the_runs_that_it_began_with(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another search, which knows of other runs, forgets those that are not its own."""
    for number in range(1, 6):
        await put(document(number, title=f"checkout {word(number)}", body=""))
    await merged(sessions)
    reader = Reader()
    lists = repository.lists

    async def meanwhile(*arguments: Any) -> Any:
        found = await lists(*arguments)
        reader._runs = {}
        return found

    monkeypatch.setattr(repository, "lists", meanwhile)
    assert len(await titles(reading, "checkout", reader)) == 5
