"""What is kept in memory is what the database has, whatever was overwritten."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import LIVE, Put, axis, document, near
from plumbline_search.searches.vectors import Held, Memory, _Store

_ALL = text("SELECT version FROM search_documents")
_FORGET = text("DELETE FROM search_passages_0")
versions = st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True)


def passages(version: int) -> int:
    return 1 + version % 3


@given(st.lists(versions, max_size=30), st.integers(6, 60))
def test_each_version_is_held_whole_or_not_at_all(batches: Sequence[Sequence[int]], capacity: int) -> None:
    store = _Store(capacity, 4)
    for batch in batches:
        wanted = np.array(batch, np.int32)
        missing = store.missing(wanted)
        of = np.repeat(np.sort(missing), [passages(version) for version in np.sort(missing)]).astype(np.int32)
        starts = np.arange(len(of), dtype=np.int32)
        store.put(Held(of, starts, starts + 1, np.repeat(of[:, np.newaxis], 4, axis=1).astype(np.float16)))
        for version in range(1, 41):
            rows = store.rows_of(np.array([version], np.int32))
            assert len(rows) in (0, passages(version))
            assert np.all(store.versions[rows] == version)
            assert np.all(store.vectors[rows] == version)
        if len(of) <= capacity and len(missing) == len(wanted):
            assert not len(store.missing(wanted))


async def test_what_is_compared_is_read_once(put: Put, reading: AsyncSession) -> None:
    for number in range(1, 6):
        await put(document(number), near(axis(0), number / 10, number))
    memory = Memory(8)
    every = np.array([row[0] for row in await reading.execute(_ALL)], np.int32)
    of, scores, starts, stops = await memory.scored(reading, LIVE, every, axis(0))
    assert of.tolist() == sorted(every.tolist())
    assert np.allclose(scores, [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-3)
    assert (starts.tolist(), len(set(stops.tolist()))) == ([0] * 5, 1)
    await reading.execute(_FORGET)
    again = await memory.scored(reading, LIVE, every, axis(0))
    assert np.array_equal(again[1], scores)


async def test_more_than_there_is_room_for_is_compared_all_the_same(put: Put, reading: AsyncSession) -> None:
    for number in range(1, 8):
        await put(document(number, body="word " * 900), near(axis(0), number / 10, number))
    memory = Memory(0)
    memory._bytes = 5 * 2 * LIVE.dimensions
    every = np.array([row[0] for row in await reading.execute(_ALL)], np.int32)
    for _ in range(2):
        of, scores, _, _ = await memory.scored(reading, LIVE, every, axis(0))
        assert sorted(set(of.tolist())) == sorted(every.tolist())
        assert np.allclose(np.unique(scores.round(2)), np.arange(1, 8) / 10, atol=0.01)
    held = await memory.held(reading, LIVE, every[:1])
    assert len(held.versions) == len(held.vectors) == 4
