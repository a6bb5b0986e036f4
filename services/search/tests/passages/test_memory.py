"""Memory has what the database has, and says where it has not."""

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import LIVE, NOW, OneIndex, Put, axis, document, near
from plumbline_common import db
from plumbline_search.documents import repository as documents
from plumbline_search.passages import memory as memories
from plumbline_search.passages.memory import Memory
from plumbline_search.passages.store import Compared, bytes_of_passage
from plumbline_search.postings import merging
from plumbline_search.postings import repository as postings
from plumbline_search.postings.merging import Merger
from plumbline_search.postings.scoring import Versions

_ALL = text("SELECT version FROM search_documents WHERE NOT deleted")
_FORGET = text("DELETE FROM search_passages_0")


async def every_version(session: AsyncSession) -> Versions:
    return np.array([row[0] for row in await session.execute(_ALL)], np.int32)


async def compared(memory: Memory, session: AsyncSession, versions: Versions) -> Compared:
    return (await memory.kept(session, LIVE, versions, axis(0))).compared


async def holds(memory: Memory, session: AsyncSession) -> bool:
    return await memory.holds(session, LIVE, await postings.known(session, LIVE.slot))


async def merged(sessions: db.Sessions) -> None:
    while await Merger(sessions).step():
        pass


async def test_what_is_compared_is_read_once(put: Put, reading: AsyncSession) -> None:
    for number in range(1, 6):
        await put(document(number), near(axis(0), number / 10, number))
    memory = Memory(8)
    every = await every_version(reading)
    found = await compared(memory, reading, every)
    assert sorted(found.versions.tolist()) == sorted(every.tolist())
    assert np.allclose(np.sort(found.cosines), [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.01)
    assert (found.starts.tolist(), len(set(found.stops.tolist()))) == ([0] * 5, 1)
    await reading.execute(_FORGET)
    assert np.array_equal((await compared(memory, reading, every)).cosines, found.cosines)


async def test_more_than_there_is_room_for_is_compared_all_the_same(put: Put, reading: AsyncSession) -> None:
    for number in range(1, 8):
        await put(document(number, body="word " * 900), near(axis(0), number / 10, number))
    memory = Memory(0)
    memory._bytes = 5 * bytes_of_passage(LIVE.dimensions)
    every = await every_version(reading)
    for _ in range(2):
        found = await compared(memory, reading, every)
        assert sorted(set(found.versions.tolist())) == sorted(every.tolist())
        assert np.allclose(np.unique(found.cosines.round(2)), np.arange(1, 8) / 10, atol=0.01)
        best = await memory.nearest_of(reading, LIVE, every, axis(0), 4)
        assert np.allclose(best.cosines, 0.7, atol=0.01)
    assert not await holds(memory, reading)


async def test_a_search_reads_the_little_that_is_missing(
    put: Put, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memories, "LOADED_BY_SEARCH", 2)
    memory = Memory(8)
    assert await holds(memory, reading)
    for number in (1, 2):
        await put(document(number), near(axis(0), number / 10, number))
    assert await holds(memory, reading)
    for number in (3, 4, 5):
        await put(document(number), near(axis(0), number / 10, number))
    assert not await holds(memory, reading)
    await (await memory._of(LIVE)).keep_up(reading, LIVE)
    assert await holds(memory, reading)
    assert np.allclose((await memory.nearest(LIVE, axis(0), 2)).cosines, [0.5, 0.4], atol=0.01)


async def test_merges_change_nothing_and_what_is_gone_is_left_behind(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FRESH", 4), ("BATCH", 4), ("FAN_IN", 2), ("LOOK_SECONDS", 0.0)):
        monkeypatch.setattr(merging, name, value)
    memory = Memory(8)
    for number in range(1, 9):
        await put(document(number), near(axis(0), number / 10, number))
        await merged(sessions)
        assert await holds(memory, reading)
    held = await memory._of(LIVE)
    await held.keep_up(reading, LIVE)
    assert len(held.store) == 8
    for number in range(1, 6):
        async with sessions.begin() as session:
            await documents.bury(session, "requirement", UUID(int=number), 1, NOW)
    await merged(sessions)
    await held.keep_up(reading, LIVE)
    assert await holds(memory, reading)
    assert len(held.store) == 3
    assert np.allclose((await memory.nearest(LIVE, axis(0), 9)).cosines, [0.8, 0.7, 0.6], atol=0.01)


async def test_documents_without_passages_are_asked_for_once(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed document stays in its run until that is merged."""
    for name, value in (("FRESH", 2), ("BATCH", 2)):
        monkeypatch.setattr(merging, name, value)
    for number in (1, 2, 3):
        await put(document(number), near(axis(0), number / 10, number))
    await merged(sessions)
    async with sessions.begin() as session:
        await documents.bury(session, "requirement", UUID(int=1), 1, NOW)
    memory = Memory(8)
    asked: list[Any] = []
    read = memories.repository.all_passages

    async def all_passages(session: AsyncSession, index: Any, versions: Versions) -> Any:
        asked.append(versions.tolist())
        return await read(session, index, versions)

    monkeypatch.setattr(memories.repository, "all_passages", all_passages)
    assert await holds(memory, reading)
    assert await holds(memory, reading)
    assert sum(map(len, asked)) == 3


async def test_another_index_has_a_memory_of_its_own(put: Put, reading: AsyncSession) -> None:
    await put(document(1), near(axis(0), 0.5))
    memory = Memory(8)
    assert await holds(memory, reading)
    assert len((await memory._of(LIVE)).store) == 1
    other = OneIndex().live.__class__(**{**LIVE.__dict__, "id": 2, "slot": 1})
    assert len((await memory._of(other)).store) == 0
    # Searches that began before a swap find it as it was.
    assert len((await memory._of(LIVE)).store) == 1


async def test_a_document_that_is_repaired_is_found(
    put: Put, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check puts passages that were missing in under the version that the document has."""
    for number in (1, 2):
        await put(document(number), near(axis(0), number / 10, number))
    kept = await reading.execute(text("SELECT * FROM search_passages_0 ORDER BY version LIMIT 1"))
    lost = dict(kept.mappings().one())
    await reading.execute(
        text("DELETE FROM search_passages_0 WHERE version = :version"), {"version": lost["version"]}
    )
    memory = Memory(8)
    every = await every_version(reading)
    assert len((await compared(memory, reading, every)).versions) == 1
    assert await holds(memory, reading)
    columns = ", ".join(lost)
    other = await reading.execute(text("SELECT version FROM search_passages_0"))
    await reading.execute(
        text(
            f"INSERT INTO search_passages_0 ({columns}) SELECT"
            f" {columns.replace('version', ':version', 1)} FROM search_passages_0 WHERE version = :other"
        ),
        {"version": lost["version"], "other": other.scalar_one()},
    )
    monkeypatch.setattr(memories, "LOOK_SECONDS", 0.0)
    await (await memory._of(LIVE)).keep_up(reading, LIVE)
    assert await holds(memory, reading)
    assert len((await memory.nearest(LIVE, axis(0), 5)).versions) == 2


async def test_when_all_fit_again_memory_is_used_again(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(0)
    memory._bytes = 5 * bytes_of_passage(LIVE.dimensions)
    for number in range(1, 8):
        await put(document(number), near(axis(0), number / 10, number))
    held = await memory._of(LIVE)
    await held.keep_up(reading, LIVE)
    assert not await holds(memory, reading)
    for number in range(1, 5):
        async with sessions.begin() as session:
            await documents.bury(session, "requirement", UUID(int=number), 1, NOW)
    await held.keep_up(reading, LIVE)
    assert not await holds(memory, reading)
    monkeypatch.setattr(memories, "LOOK_SECONDS", 0.0)
    await held.keep_up(reading, LIVE)
    assert await holds(memory, reading)
