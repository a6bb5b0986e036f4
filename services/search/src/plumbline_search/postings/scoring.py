"""BM25 over packed postings. Pure: no I/O.

The inverted index is a set of immutable *runs*. A run knows its documents (their versions and lengths) and, for each
term, which of them hold it and how often. What was written since the newest run is *fresh*: each document with its
own terms. Both are scored by one formula with one set of statistics, so that no document waits for a merge.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbline_common.compiling import kernel

Versions = npt.NDArray[np.int32]
"""int32 (n,): the number that a document's text has in the index; a new text has a new one."""
Scores = npt.NDArray[np.float32]

K1, B = 1.2, 0.4
"""BM25's saturation and length normalisation. Measured in `docs/search.md`; a runbook is long because it is good."""


class _Places:
    """Where each of `versions` stands among them."""

    versions: Versions

    def of(self, versions: Versions) -> tuple[Versions, npt.NDArray[np.int64]]:
        """Those of `versions` that are here, and their places."""
        known, order = self._ordered
        if not len(known):
            return known, order
        at = np.minimum(np.searchsorted(known, versions), len(known) - 1)
        there = known[at] == versions
        return versions[there], order[at[there]]

    def scored(self, sums: "Scores", versions: Versions) -> "tuple[Versions, Scores]":
        """Those of `versions` that are here and have a score, and it."""
        there, at = self.of(versions)
        scores = sums[at]
        kept = np.flatnonzero(scores)
        return there[kept], scores[kept]

    @cached_property
    def _ordered(self) -> tuple[Versions, npt.NDArray[np.int64]]:
        order = np.argsort(self.versions)
        return self.versions[order], order


@dataclass(frozen=True)
class Run(_Places):
    """`versions[i]` and `lengths[i]` (terms, int32) are of the document that postings call `i`."""

    id: int
    versions: Versions
    lengths: npt.NDArray[np.int32]

    @cached_property
    def terms(self) -> int:
        """Of all documents."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class Fresh:
    """A document that is in no run yet: `terms` (int64, m, distinct) and `counts` (uint16, m)."""

    version: int
    length: int
    terms: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Postings:
    """Of one term in one run: `documents` (int32, n, places in the run) and `counts` (uint16, n)."""

    run: int
    term: int
    documents: npt.NDArray[np.int32]
    counts: npt.NDArray[np.uint16]


Part = tuple[_Places, Scores]
"""Documents, and the score of each: 0 of those that hold none of the terms."""


@dataclass(frozen=True)
class Matches:
    """The documents that hold any of the query's terms, in no order. Some may be gone by now."""

    parts: Sequence[Part] = ()
    missing: frozenset[int] = frozenset()
    """Terms of the query that no document holds."""
    _some: tuple[Versions, Scores] | None = None
    """Where not all of `parts` are meant."""

    @property
    def versions(self) -> Versions:
        return self._listed[0]

    @property
    def scores(self) -> Scores:
        return self._listed[1]

    @cached_property
    def _listed(self) -> tuple[Versions, Scores]:
        """O(documents): a page needs no more than `best`."""
        return self._some or _over(self.parts, _LEAST)

    def best(self, most: int) -> "Matches":
        """The best, in order; equal scores by version, the newest first."""
        versions, scores = self._some or _promising(self.parts, most)
        if len(scores) > most:
            worst = np.partition(scores, len(scores) - most)[len(scores) - most]
            kept = np.flatnonzero(scores >= worst)
            versions, scores = versions[kept], scores[kept]
        order = np.lexsort((-versions, -scores))[:most]
        return replace(self, _some=(versions[order], scores[order]))

    def only(self, versions: Versions) -> "Matches":
        """Those of `versions`, by version. O(versions log documents)."""
        if self._some is not None:
            kept = np.flatnonzero(np.isin(self.versions, versions))
            return replace(self, _some=(self.versions[kept], self.scores[kept]))
        found = [places.scored(scores, versions) for places, scores in self.parts]
        there, sums = _joined_scores(found)
        order = np.argsort(there, kind="stable")
        return replace(self, _some=(there[order], sums[order]))

    def without(self, versions: Versions) -> "Matches":
        kept = np.flatnonzero(~np.isin(self.versions, versions))
        return replace(self, _some=(self.versions[kept], self.scores[kept]))

    def of(self, versions: Versions) -> dict[int, float]:
        """The scores of those of `versions` that hold any of the terms."""
        found: dict[int, float] = {}
        for places, sums in self.parts:
            there, scores = places.scored(sums, versions)
            found |= zip(there.tolist(), scores.tolist(), strict=True)
        return found

    def by_version(self) -> dict[int, float]:
        return dict(zip(self.versions.tolist(), self.scores.tolist(), strict=True))


NOTHING = Matches()
_LEAST = float(np.finfo(np.float32).tiny)
_STEP = 64
_SAMPLED = 10_000
"""With more documents some of them tell what the best have."""


def _promising(parts: Sequence[Part], most: int) -> tuple[Versions, Scores]:
    """At least the `most` best."""
    if sum(len(scores) for _, scores in parts) > _SAMPLED:
        # Twice as many as are wanted have what is taken for enough, about: a sample errs.
        sample = np.concatenate([scores[::_STEP] for _, scores in parts])
        rank = 2 * most // _STEP + 8
        least = float(np.partition(sample, len(sample) - rank)[len(sample) - rank])
        if least > 0:
            versions, scores = _over(parts, least)
            if len(versions) >= most:
                return versions, scores
    return _over(parts, _LEAST)


def _over(parts: Sequence[Part], least: float) -> tuple[Versions, Scores]:
    """All with that score at least."""
    found = []
    for places, scores in parts:
        rows = np.empty(len(scores), np.int64)
        rows = rows[: _rows_over(scores, np.float32(least), rows)]
        found.append((places.versions[rows], scores[rows]))
    return _joined_scores(found)


def _joined_scores(parts: Sequence[tuple[Versions, Scores]]) -> tuple[Versions, Scores]:
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    return np.concatenate([versions for versions, _ in parts]), np.concatenate([scores for _, scores in parts])


def pack(documents: npt.NDArray[np.int32], counts: npt.NDArray[np.uint16]) -> bytes:
    """Six bytes a posting, little-endian: all places, then all counts."""
    return documents.astype("<i4").tobytes() + counts.astype("<u2").tobytes()


def unpack(run: int, term: int, packed: bytes) -> Postings:
    size = len(packed) // 6
    return Postings(
        run, term, np.frombuffer(packed, "<i4", size), np.frombuffer(packed, "<u2", size, offset=4 * size)
    )


def score(
    query: Mapping[int, float], runs: Sequence[Run], postings: Iterable[Postings], fresh: Sequence[Fresh]
) -> Matches:
    """BM25 (Robertson and Zaragoza 2009, with Lucene's idf, which is never negative).

    `query` weighs each term, by how often the query has it. O(postings) time, O(documents) memory.
    """
    documents = sum(len(run.versions) for run in runs) + len(fresh)
    if not documents or not query:
        return NOTHING
    total = sum(run.terms for run in runs) + sum(each.length for each in fresh)
    average = max(total / documents, 1.0)
    by_term: dict[int, list[Postings]] = {term: [] for term in query}
    for each in postings:
        by_term[each.term].append(each)
    newest = _joined(fresh)
    weights = {}
    missing = set()
    for term, found in by_term.items():
        frequency = sum(len(each.documents) for each in found) + int(np.count_nonzero(newest.terms == term))
        if not frequency:
            missing.add(term)
        weights[term] = query[term] * math.log(1 + (documents - frequency + 0.5) / (frequency + 0.5))
    parts: list[Part] = [(newest, newest.sums(weights, average))]
    of_run: dict[int, list[Postings]] = {run.id: [] for run in runs}
    for found in by_term.values():
        for each in found:
            of_run[each.run].append(each)
    for run in runs:
        sums = np.zeros(len(run.versions), np.float32)
        for each in of_run[run.id]:
            weight = np.float32(weights[each.term])
            _add(sums, each.documents, each.counts, run.lengths, weight, *_normal(average))
        parts.append((run, sums))
    return Matches(parts, frozenset(missing))


@kernel()
def _add(  # pragma: no cover
    sums: Any, documents: Any, counts: Any, lengths: Any, weight: Any, fixed: Any, by_length: Any
) -> None:
    for at in range(len(documents)):
        often = np.float32(counts[at])
        sums[documents[at]] += weight * often / (often + fixed + by_length * np.float32(lengths[documents[at]]))


@kernel()
def _rows_over(scores: Any, least: Any, rows: Any) -> int:  # pragma: no cover
    number = 0
    for row in range(len(scores)):
        if scores[row] >= least:
            rows[number] = row
            number += 1
    return number


def compile_all() -> None:
    """Beforehand, so that no query waits for it."""
    run = Run(0, *(np.frombuffer(bytes(4), "<i4") for _ in range(2)))
    score({0: 1.0}, [run], [unpack(0, 0, bytes(6))], []).best(1)


def holding(
    terms: Collection[int], runs: Sequence[Run], postings: Iterable[Postings], fresh: Sequence[Fresh]
) -> Versions:
    """The documents that hold each of `terms`."""
    wanted = np.array(sorted(terms), np.int64)
    sizes = {run.id: np.zeros(len(run.versions), np.int32) for run in runs}
    for each in postings:
        sizes[each.run][each.documents] += 1
    found = [run.versions[sizes[run.id] == len(wanted)] for run in runs]
    newest = [each.version for each in fresh if np.isin(wanted, each.terms).all()]
    return np.concatenate([*found, np.array(newest, np.int32)])


def _normal(average: float) -> tuple[np.float32, np.float32]:
    """What a document's length is held against: BM25's normal part, and what each of its terms adds."""
    return np.float32(K1 * (1 - B)), np.float32(K1 * B / average)


@dataclass(frozen=True)
class _Newest(_Places):
    """All fresh documents in one: posting `i` is term `terms[i]` in `versions[owners[i]]`."""

    versions: Versions
    lengths: npt.NDArray[np.int32]
    owners: npt.NDArray[np.int32]
    terms: npt.NDArray[np.int64]
    counts: npt.NDArray[np.uint16]

    def sums(self, weights: Mapping[int, float], average: float) -> Scores:
        sums = np.zeros(len(self.versions), np.float32)
        for term, weight in weights.items():
            at = np.flatnonzero(self.terms == term)
            _add(sums, self.owners[at], self.counts[at], self.lengths, np.float32(weight), *_normal(average))
        return sums


def _joined(fresh: Sequence[Fresh]) -> _Newest:
    return _Newest(
        np.array([each.version for each in fresh], np.int32),
        np.array([each.length for each in fresh], np.int32),
        np.repeat(np.arange(len(fresh), dtype=np.int32), [len(each.terms) for each in fresh]),
        np.concatenate([each.terms for each in fresh]) if fresh else np.empty(0, np.int64),
        np.concatenate([each.counts for each in fresh]) if fresh else np.empty(0, np.uint16),
    )


def run_of(id: int, fresh: Sequence[Fresh]) -> tuple[Run, dict[int, bytes]]:
    """The run that `fresh` become, and its packed postings by term."""
    newest = _joined(fresh)
    order = np.argsort(newest.terms, kind="stable")
    terms, starts = np.unique(newest.terms[order], return_index=True)
    owners, counts = newest.owners[order], newest.counts[order]
    bounds = np.append(starts, len(order))
    sizes = np.diff(bounds)
    # All of them at once in pairs of bytes, as `pack` has each: two for a place, one for a count.
    first = np.repeat(bounds[:-1], sizes)
    inside = np.arange(len(order)) - first
    pairs = np.empty(3 * len(order), "<u2")
    places = owners.astype("<i4").view("<u2").reshape(-1, 2)
    pairs[3 * first + 2 * inside], pairs[3 * first + 2 * inside + 1] = places[:, 0], places[:, 1]
    pairs[3 * first + 2 * np.repeat(sizes, sizes) + inside] = counts
    written = pairs.tobytes()
    ends = (6 * bounds).tolist()
    packed = {term: written[ends[at] : ends[at + 1]] for at, term in enumerate(terms.tolist())}
    return Run(id, newest.versions, newest.lengths), packed


@dataclass(frozen=True)
class Merge:
    """The run that several become. `places` says, for each old run, what its documents are called in the new one,
    -1 for those that are gone."""

    run: Run
    places: dict[int, npt.NDArray[np.int32]]

    def merged(self, parts: Sequence[Postings]) -> bytes:
        """The packed postings of one term; empty where none of its documents is left."""
        places = [self.places[each.run][each.documents] for each in parts]
        kept = [place >= 0 for place in places]
        documents = np.concatenate([place[keep] for place, keep in zip(places, kept, strict=True)])
        counts = np.concatenate([each.counts[keep] for each, keep in zip(parts, kept, strict=True)])
        return pack(documents, counts)


def merge(id: int, runs: Sequence[Run], alive: Versions) -> Merge:
    """`alive` are the versions that documents have now, in any order."""
    places = {}
    versions, lengths = [], []
    size = 0
    for run in runs:
        keep = np.isin(run.versions, alive)
        place = np.full(len(keep), -1, np.int32)
        place[keep] = np.arange(size, size + int(keep.sum()), dtype=np.int32)
        places[run.id] = place
        versions.append(run.versions[keep])
        lengths.append(run.lengths[keep])
        size += int(keep.sum())
    return Merge(Run(id, np.concatenate(versions), np.concatenate(lengths)), places)
