"""Passages in memory: all of a version or none, and the nearest of them."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_search.passages import store as stores
from plumbline_search.passages.scoring import Floats
from plumbline_search.passages.store import Passages, Store

DIMENSIONS = 64
versions = st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True)


def vector(version: int) -> Floats:
    found = np.random.default_rng(version).normal(size=DIMENSIONS) + 1
    return np.asarray(found / np.linalg.norm(found), np.float32)


def number_of(version: int) -> int:
    return 1 + version % 3


def passages(of: Sequence[int]) -> Passages:
    """One to three of each version, by version; they start at 0, 1, 2."""
    each = [(version, place) for version in sorted(of) for place in range(number_of(version))]
    starts = np.array([place for _, place in each], np.int32)
    vectors = np.array([vector(version) for version, _ in each], np.float32).reshape(-1, DIMENSIONS)
    return Passages(np.array([version for version, _ in each], np.int32), starts, starts + 1, vectors)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_BLOCK_BYTES", 8 * DIMENSIONS)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=50)
@given(st.lists(versions, max_size=12), st.integers(4, 60))
def test_each_version_is_held_whole_or_not_at_all(batches: Sequence[Sequence[int]], capacity: int) -> None:
    store = Store(DIMENSIONS, capacity)
    for batch in batches:
        missing = store.missing(np.array(batch, np.int32))
        store.put(passages(missing.tolist()))
        assert len(store) <= max(capacity, 3)
        asked = store.turned(vector(batch[0]))
        for version in range(1, 41):
            kept = store.kept(np.array([version], np.int32), asked)
            found = kept.compared
            assert sorted(found.starts.tolist()) in ([], list(range(number_of(version))))
            for at in range(len(found.starts)):
                assert np.allclose(kept.like(at), 1, atol=0.01)
            assert np.allclose(found.cosines, vector(version) @ vector(batch[0]), atol=0.01)
        if not store.forgotten:
            assert not len(store.missing(np.array(batch, np.int32)))


@pytest.mark.usefixtures("small_blocks")
@given(st.sets(st.integers(1, 40), min_size=1), st.sets(st.integers(1, 40)))
def test_what_is_left_behind_is_gone_and_nothing_else(there: set[int], wanted: set[int]) -> None:
    store = Store(DIMENSIONS, 1000)
    store.put(passages(list(there)))
    kept = store.only(np.array(sorted(wanted), np.int32))
    assert set(kept.versions().tolist()) == there & wanted
    asked = store.turned(vector(1))
    every = np.arange(1, 41, dtype=np.int32)
    before = {version: cosine for version, cosine, *_ in rows(store, every, asked) if version in wanted}
    assert {version: cosine for version, cosine, *_ in rows(kept, every, asked)} == pytest.approx(before, abs=1e-6)


def rows(store: Store, of: np.ndarray[tuple[int], np.dtype[np.int32]], asked: Floats) -> list[tuple[int, float]]:
    found = store.compared(of, asked)
    return list(zip(found.versions.tolist(), found.cosines.tolist(), strict=True))


@pytest.mark.parametrize("coded", [0, 10_000])
def test_the_nearest_come_in_their_order(monkeypatch: pytest.MonkeyPatch, coded: int) -> None:
    """By codes and by comparing all; of all and of some."""
    monkeypatch.setattr(stores, "CODED", coded)
    monkeypatch.setattr(stores, "COMPARED_LEAST", 1_400)
    monkeypatch.setattr(stores, "COMPARED_FOR_EACH", 1)
    store = Store(DIMENSIONS, 10_000)
    for start in range(1, 3001, 500):
        store.put(passages(range(start, start + 500)))
    asked = vector(70)
    some = np.arange(1, 3001, 2, dtype=np.int32)
    for among in (None, some):
        found = store.nearest(store.turned(asked), 12, among)
        every = range(1, 3001) if among is None else among.tolist()
        best = sorted(every, key=lambda version: -float(vector(version) @ asked))[:20]
        exact = [version for version in best for _ in range(number_of(version))][:12]
        assert len(found.versions) == 12
        assert len(set(found.versions.tolist()) & set(exact)) >= 0.8 * len(set(exact))
        assert np.all(np.diff(found.cosines) <= 0)
        if among is not None:
            assert np.all(np.isin(found.versions, among))
    assert not len(store.nearest(store.turned(asked), 12, np.array([9999], np.int32)).versions)


def test_an_empty_store_has_nothing() -> None:
    store = Store(DIMENSIONS, 10)
    asked = store.turned(vector(1))
    assert not len(store.nearest(asked, 5).versions)
    assert not len(store.compared(np.array([1], np.int32), asked).versions)
    assert not len(store.only(np.array([1], np.int32)))
    assert store.missing(np.array([1, 2], np.int32)).tolist() == [1, 2]
