"""Passages in memory. No I/O.

The passages of a version never change, so nothing here is out of date: the database says which versions there are.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbline_search.passages import scoring
from plumbline_search.passages.scoring import Bytes, Codes, Floats, Query, Rows
from plumbline_search.postings.scoring import Versions

Ints = npt.NDArray[np.int32]

CODED = 16_384
"""With fewer passages each is compared: codes would not be quicker."""
COMPARED_LEAST = 1_000
"""So many are compared at least of those whose estimates are the best. Measured in `docs/search.md`."""
COMPARED_FOR_EACH = 20
_ADJACENT = 64
_SAMPLED = 64
"""How many of these a sample has, by which the rest are judged."""
_BLOCK_BYTES = 64 * 1024 * 1024
_NOTHING: Ints = np.empty(0, np.int32)


@dataclass(frozen=True)
class Passages:
    """As they are read: `vectors[i]`, of length 1, is of the text of `versions[i]` from `starts[i]` to `stops[i]`."""

    versions: Versions
    starts: Ints
    stops: Ints
    vectors: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Compared:
    """Passages and their cosines with a query, in no order."""

    versions: Versions
    cosines: Floats
    starts: Ints
    stops: Ints

    def best(self, most: int) -> "Compared":
        """The nearest, in order; of equals the newest first, so that pages fit together."""
        first = np.arange(len(self.cosines))
        if len(first) > most:
            first = np.flatnonzero(self.cosines >= np.partition(self.cosines, -most)[-most])
        first = first[np.lexsort((-self.versions[first], -self.cosines[first]))][:most]
        return Compared(self.versions[first], self.cosines[first], self.starts[first], self.stops[first])


class _Block:
    """Rows that are only ever added."""

    def __init__(self, rows: int, dimensions: int) -> None:
        self.size = 0
        self.versions: Versions = np.empty(rows, np.int32)
        self.starts: Ints = np.empty(rows, np.int32)
        self.stops: Ints = np.empty(rows, np.int32)
        self.small: Bytes = np.empty((rows, dimensions), np.int8)
        self.scales: Floats = np.empty(rows, np.float32)
        self.codes = Codes.empty(rows, dimensions)
        self._index: tuple[Versions, Rows] = (_NOTHING, np.empty(0, np.int64))

    @property
    def room(self) -> int:
        return len(self.versions) - self.size

    def put(
        self, versions: Versions, starts: Ints, stops: Ints, small: Bytes, scales: Floats, centre: Floats
    ) -> None:
        start, stop = self.size, self.size + len(versions)
        self.versions[start:stop], self.starts[start:stop], self.stops[start:stop] = versions, starts, stops
        self.small[start:stop], self.scales[start:stop] = small, scales
        self.codes.put(start, small, scales, centre)
        order = np.argsort(self.versions[:stop], kind="stable")
        # Who reads meanwhile sees all of the new rows or none.
        self._index = (self.versions[order], order)
        self.size = stop

    def rows_of(self, versions: Versions) -> Rows:
        """`versions` in ascending order."""
        known, rows = self._index
        first = np.searchsorted(known, versions, "left")
        sizes = np.searchsorted(known, versions, "right") - first
        # Of each version its places one after the other.
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        found: Rows = rows[np.repeat(first, sizes) + offsets]
        return found

    def has(self, versions: Versions) -> npt.NDArray[np.bool_]:
        known, _ = self._index
        if not len(known):
            return np.zeros(len(versions), bool)
        at = np.minimum(np.searchsorted(known, versions), len(known) - 1)
        found: npt.NDArray[np.bool_] = known[at] == versions
        return found

    def cosines(self, rows: Rows, turned: Floats) -> Floats:
        return scoring.compared(self.small, self.scales, rows, turned)

    def compared(self, rows: Rows, turned: Floats) -> Compared:
        cosines = self.cosines(rows, turned)
        return Compared(self.versions[rows], cosines, self.starts[rows], self.stops[rows])

    def vectors(self, rows: Rows) -> Floats:
        found: Floats = self.small[rows].astype(np.float32) * self.scales[rows, np.newaxis]
        return found

    def all_compared(self, turned: Floats) -> Compared:
        return self.compared(np.arange(self.size), turned)


@dataclass(frozen=True)
class Kept:
    """Passages and their cosines with a query, in the order of `places`."""

    compared: Compared
    places: Sequence[tuple[_Block, Rows]]

    def like(self, at: int) -> Floats:
        """The cosine of each with the one at `at`."""
        start = 0
        for block, rows in self.places:
            if at < start + len(rows):
                [leader] = block.vectors(rows[at - start : at - start + 1])
                parts = [each.cosines(others, leader) for each, others in self.places]
                return np.concatenate(parts)
            start += len(rows)
        raise IndexError(at)


@dataclass
class Store:
    """Of one index, at most `capacity` passages: with more, those that came first are forgotten."""

    dimensions: int
    capacity: int
    forgotten: bool = False
    """Whether any was."""
    _blocks: list[_Block] = field(default_factory=list)
    _centre: Floats | None = None

    def __len__(self) -> int:
        return sum(block.size for block in self._blocks)

    @property
    def megabytes(self) -> float:
        return len(self) * bytes_of_passage(self.dimensions) / 1024 / 1024

    def turned(self, vectors: npt.NDArray[Any]) -> Floats:
        """In the basis that vectors are kept in; inner products stay as they are."""
        found: Floats = vectors.astype(np.float32) @ scoring.basis(self.dimensions)
        return found

    def missing(self, versions: Versions) -> Versions:
        for block in self._blocks:
            if not len(versions):
                break
            versions = versions[~block.has(versions)]
        return versions

    def versions(self) -> Versions:
        """Of all passages, in no order."""
        return np.concatenate([_NOTHING, *(block.versions[: block.size] for block in self._blocks)])

    def put(self, passages: Passages) -> None:
        """All passages of some versions that are not there, by version. One may be at it at a time; others read."""
        if not len(passages.versions):
            return
        turned = self.turned(passages.vectors)
        if self._centre is None:
            self._centre = turned.mean(axis=0)
        self._append(passages.versions, passages.starts, passages.stops, *scoring.bytes_of(turned))

    def _append(self, versions: Versions, starts: Ints, stops: Ints, small: Bytes, scales: Floats) -> None:
        """Passages by version. Those of one version come into one block: it is forgotten as a whole."""
        ends = np.append(np.flatnonzero(versions[1:] != versions[:-1]) + 1, len(versions))
        start = 0
        while start < len(versions):
            first = ends[np.searchsorted(ends, start, "right")] - start
            block = self._roomy(int(first))
            stop = int(ends[np.searchsorted(ends, start + block.room, "right") - 1])
            part = slice(start, stop)
            assert self._centre is not None
            block.put(versions[part], starts[part], stops[part], small[part], scales[part], self._centre)
            start = stop

    def _roomy(self, least: int) -> _Block:
        """A block with room for `least` passages."""
        if not self._blocks or self._blocks[-1].room < least:
            size = max(least, min(self.capacity, _BLOCK_BYTES // self.dimensions))
            while self._blocks and self.capacity - len(self) < max(least, size // 8):
                self._blocks = self._blocks[1:]
                self.forgotten = True
            size = max(least, min(size, self.capacity - len(self)))
            self._blocks = [*self._blocks, _Block(size, self.dimensions)]
        return self._blocks[-1]

    def only(self, versions: Versions) -> "Store":
        """A store of those of `versions` that are here, around their own centre."""
        found = Store(self.dimensions, self.capacity)
        wanted = np.sort(versions)
        kept = [(block, block.rows_of(wanted)) for block in self._blocks]
        sums = [block.vectors(rows).sum(axis=0) for block, rows in kept if len(rows)]
        if sums:
            found._centre = (np.sum(sums, axis=0) / sum(len(rows) for _, rows in kept)).astype(np.float32)
        for block, rows in kept:
            if len(rows):
                found._append(
                    block.versions[rows], block.starts[rows], block.stops[rows], block.small[rows], block.scales[rows]
                )
        return found

    def compared(self, versions: Versions, turned: Floats) -> Compared:
        """All passages of `versions` that are here."""
        return self.kept(versions, turned).compared

    def kept(self, versions: Versions, turned: Floats) -> Kept:
        """The same, to be compared with each other too."""
        wanted = np.sort(versions)
        places = [(block, block.rows_of(wanted)) for block in self._blocks]
        return Kept(joined([block.compared(rows, turned) for block, rows in places]), places)

    def nearest(self, turned: Floats, most: int, versions: Versions | None = None) -> Compared:
        """About the `most` nearest passages, of `versions` or of all, in order: the best estimates are compared."""
        comparing = max(COMPARED_LEAST, COMPARED_FOR_EACH * most)
        blocks = [(block, block.size) for block in self._blocks]
        few = len(self) if versions is None else len(versions)
        if few <= max(CODED if versions is None else 0, 4 * comparing) or self._centre is None:
            if versions is not None:
                return self.compared(versions, turned).best(most)
            return joined([block.all_compared(turned) for block, _ in blocks]).best(most)
        asked = scoring.query(turned, self._centre)
        return joined(list(self._promising(blocks, asked, comparing, versions))).best(most)

    def _promising(
        self, blocks: Sequence[tuple[_Block, int]], asked: Query, comparing: int, versions: Versions | None
    ) -> Iterator[Compared]:
        if versions is not None:
            held = [(block, np.flatnonzero(np.isin(block.versions[:size], versions))) for block, size in blocks]
            estimates = [scoring.estimated(block.codes, rows, asked) for block, rows in held]
            least = _nth(np.concatenate(estimates), comparing)
            for (block, rows), part in zip(held, estimates, strict=True):
                yield block.compared(rows[part >= least], asked.turned)
            return
        # What the best have at least, by some of all.
        step = max(1, comparing // _SAMPLED)
        sample = [scoring.estimated(block.codes, _every(step, size), asked) for block, size in blocks]
        least = _nth(np.concatenate(sample), comparing // step)
        for block, size in blocks:
            chosen = scoring.promising(block.codes, asked, least, _scratch(size))
            yield block.compared(chosen, asked.turned)


@lru_cache(maxsize=32)
def _every(step: int, size: int) -> Rows:
    """One of `step` rows, several that lie together at a time: the processor reads these at once."""
    starts = np.arange(0, size, step * _ADJACENT)
    rows = (starts[:, np.newaxis] + np.arange(_ADJACENT)).ravel()
    return rows[rows < size]


def _nth(estimates: Floats, most: int) -> float:
    """What the best `most` have at least."""
    if len(estimates) <= most:
        return -np.inf
    return float(np.partition(estimates, len(estimates) - most)[len(estimates) - most])


_of_thread = threading.local()


def _scratch(size: int) -> Rows:
    """int64 (size,) of this thread: fresh memory would cost as much as what is written there."""
    kept: Rows | None = getattr(_of_thread, "rows", None)
    if kept is None or len(kept) < size:
        kept = _of_thread.rows = np.empty(size, np.int64)
    return kept[:size]


def bytes_of_passage(dimensions: int) -> int:
    return dimensions + dimensions // 8 + 8 * 4


def joined(parts: Sequence[Compared]) -> Compared:
    if not parts:
        return Compared(_NOTHING, np.empty(0, np.float32), _NOTHING, _NOTHING)
    return Compared(
        np.concatenate([each.versions for each in parts]),
        np.concatenate([each.cosines for each in parts]),
        np.concatenate([each.starts for each in parts]),
        np.concatenate([each.stops for each in parts]),
    )


def together(parts: Sequence[Kept]) -> Kept:
    return Kept(joined([each.compared for each in parts]), [place for each in parts for place in each.places])
