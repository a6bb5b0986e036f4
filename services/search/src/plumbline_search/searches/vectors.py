"""Vectors in memory, for comparing many documents with one query.

The passages of a version never change, so what is kept is never out of date: which versions there are is asked of the
database each time.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import repository

Rows = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]

_INLINE = 2_000
"""Passages that are compared on the event loop: about a millisecond. More go to a thread, which numpy lets run."""
_TOGETHER = 5_000
"""Versions that are read by one statement."""


@dataclass(frozen=True)
class Held:
    """Passages: `vectors[i]`, of length 1, is of the text of `versions[i]` from `starts[i]` to `stops[i]`."""

    versions: Versions
    starts: Ints
    stops: Ints
    vectors: npt.NDArray[np.floating[Any]]
    """float16 as it is kept, float32 as it is given."""


class Memory:
    """Keeps what was compared last, at most `megabytes` for each index: two bytes a component."""

    def __init__(self, megabytes: int) -> None:
        self._bytes = megabytes * 1024 * 1024
        self._stores: dict[int, _Store] = {}

    async def scored(
        self, session: AsyncSession, index: Index, versions: Versions, vector: Vector
    ) -> tuple[Versions, npt.NDArray[np.float32], Ints, Ints]:
        """The version, cosine, start and stop of each passage of `versions` that the index has, in no order."""
        parts = [
            (each.versions, await _compared(each.vectors, vector), each.starts, each.stops)
            async for each in self._read(session, index, versions)
        ]
        of, scores, starts, stops = (np.concatenate(each) for each in zip(*parts, strict=True))
        return of, scores, starts, stops

    async def held(self, session: AsyncSession, index: Index, versions: Versions) -> Held:
        """The passages of `versions` that the index has, in no order."""
        parts = [each async for each in self._read(session, index, versions)]
        return Held(
            np.concatenate([each.versions for each in parts]),
            np.concatenate([each.starts for each in parts]),
            np.concatenate([each.stops for each in parts]),
            np.concatenate([each.vectors for each in parts]).astype(np.float32),
        )

    async def _read(self, session: AsyncSession, index: Index, versions: Versions) -> AsyncIterator[Held]:
        """What is kept first: what is read then may overwrite it."""
        if index.id not in self._stores:
            # Of the indexes only the live one is asked; the one before it is not asked again.
            self._stores = {index.id: _Store(self._bytes // (2 * index.dimensions), index.dimensions)}
        store = self._stores[index.id]
        missing = store.missing(versions)
        yield store.held(versions)
        for start in range(0, len(missing), _TOGETHER):
            read = Held(*await repository.all_passages(session, index, missing[start : start + _TOGETHER]))
            store.put(read)
            yield read


async def _compared(vectors: npt.NDArray[np.floating[Any]], vector: Vector) -> npt.NDArray[np.float32]:
    if len(vectors) <= _INLINE:
        return _cosines(vectors, vector)
    return await offload.in_thread(_cosines, vectors, vector)


def _cosines(vectors: npt.NDArray[np.floating[Any]], vector: Vector) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = vectors.astype(np.float32) @ vector
    return found


class _Store:
    """A ring of rows: what comes overwrites what came first."""

    def __init__(self, capacity: int, dimensions: int) -> None:
        self.vectors = np.empty((capacity, dimensions), np.float16)
        self.versions: Versions = np.zeros(capacity, np.int32)
        self.starts: Ints = np.zeros(capacity, np.int32)
        self.stops: Ints = np.zeros(capacity, np.int32)
        self._next = 0
        self._sorted: Versions = np.empty(0, np.int32)
        self._rows: Rows = np.empty(0, np.int64)

    def missing(self, versions: Versions) -> Versions:
        if not len(self._sorted):
            return versions
        at = np.minimum(np.searchsorted(self._sorted, versions), len(self._sorted) - 1)
        found: Versions = versions[self._sorted[at] != versions]
        return found

    def rows_of(self, versions: Versions) -> Rows:
        first = np.searchsorted(self._sorted, versions, "left")
        sizes = np.searchsorted(self._sorted, versions, "right") - first
        # Of each version its places one after the other.
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        found: Rows = self._rows[np.repeat(first, sizes) + offsets]
        return found

    def held(self, versions: Versions) -> Held:
        rows = self.rows_of(versions)
        return Held(self.versions[rows], self.starts[rows], self.stops[rows], self.vectors[rows])

    def put(self, passages: Held) -> None:
        """All passages of some versions that are not there; more than there is room for are not kept."""
        versions, capacity = passages.versions, len(self.versions)
        if not len(versions) or len(versions) > capacity:
            return
        rows = (self._next + np.arange(len(versions))) % capacity
        # A version that loses a passage is read anew as a whole.
        lost = self.versions[rows]
        kept = ~np.isin(self._sorted, lost[lost > 0]) if len(self._sorted) else np.empty(0, bool)
        self.vectors[rows], self.versions[rows] = passages.vectors, versions
        self.starts[rows], self.stops[rows] = passages.starts, passages.stops
        self._next = int(rows[-1] + 1) % capacity
        all_versions = np.concatenate([self._sorted[kept], versions])
        all_rows = np.concatenate([self._rows[kept], rows])
        order = np.argsort(all_versions, kind="stable")
        self._sorted, self._rows = all_versions[order], all_rows[order]
