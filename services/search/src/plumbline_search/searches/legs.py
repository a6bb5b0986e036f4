"""The two legs of a search, each with its best documents of what the filters let through, and one ranking of both."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import telemetry
from plumbline_common.errors import Invalid, Unavailable
from plumbline_search.embedding.embedder import Embedder, TooBusy, Urgency, Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import Serving
from plumbline_search.passages.memory import Memory
from plumbline_search.postings import repository as postings
from plumbline_search.postings.reading import Reader
from plumbline_search.postings.scoring import NOTHING, Matches, Versions
from plumbline_search.searches import counting, fusion, repository
from plumbline_search.searches.answers import Answers
from plumbline_search.searches.clock import Clock
from plumbline_search.searches.looking import Look, Looks
from plumbline_search.searches.repository import Gate, Nearest, Standing
from plumbline_search.searches.schemas import FusionParts, LeftOut, Leg, SearchRequest, SelectedBy
from plumbline_search.text import analysis
from plumbline_search.text.question import Question

CANDIDATES = 100
"""How many documents each leg brings to the fusion. What comes behind them is ranked by one leg alone."""
BEGINNINGS = 50
"""Terms that one beginning stands for."""
FEW_MATCHES = 3
"""With fewer, words that no document holds are looked for as if they were misspelt."""
SPARE = 8
"""Of the nearest passages so many more are asked for than are wanted: some may be of one document, or gone."""
ROOM = 1.4
"""So many times what the filters should let enough through of, by what they let through before."""
WIDEST = 20_000
"""Passages whose documents are asked whether the filters let them through: beyond, all that do are listed."""
SHORTEST, CORRECTED, ALIKE, CORRECTION = 4, 5, 3, 0.6
"""Letters of such a word; how many of them; terms for each; and what each weighs."""

log = logging.getLogger(__name__)


class WrongVector(Invalid):
    slug = "wrong-vector"
    title = "The vector is not of the index's model"


class NoModel(Unavailable):
    slug = "no-model"
    title = "The query cannot be embedded here"


@dataclass(frozen=True)
class Tools:
    """What a search works with, and what it remembers: one for each process."""

    serving: Serving
    reader: Reader = field(default_factory=Reader)
    counter: counting.Counter = field(default_factory=counting.Counter)
    memory: Memory = field(default_factory=lambda: Memory(64))
    looks: Looks = field(default_factory=Looks)
    answers: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class Scope:
    """What the filters let through. `allowed` are the versions of all of it where that is few; None where many.

    Of few each is compared: the ranking is exact then, and its pages fit together.
    """

    look: Look
    """What the index has: both legs look at that."""
    gate: Gate
    allowed: Versions | None
    excluded: Versions | None = None
    """What must not be found; `allowed` has none of it."""

    @property
    def index(self) -> Index:
        return self.look.index


Results = dict[int, tuple[float, int]]
"""Score and rank by version, the best first."""


@dataclass
class Found:
    """What the legs say of documents, by version."""

    lexical: Results = field(default_factory=dict)
    vector: Results = field(default_factory=dict)
    words: dict[int, float] = field(default_factory=dict)
    """The lexical leg's scores of what the fusion ranked, `cosines` the vector leg's: whichever brought it."""
    cosines: dict[int, float] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Where the passage is that is nearest to the query."""
    standing: Standing = field(default_factory=dict)
    """Of those that were looked up: they are there, and may be shown."""
    described: dict[int, Any] = field(default_factory=dict)
    """Rows of what is shown, of those that were looked up with it."""
    parts: dict[int, FusionParts] = field(default_factory=dict)
    """What a score is made of, of the candidates of both legs."""
    selected_by: SelectedBy | None = None


# --- Words ----------------------------------------------------------------------------------------------


async def matches(
    session: AsyncSession,
    reader: Reader,
    request: SearchRequest,
    asked: Question,
    words: Counter[str],
    scope: Scope,
) -> tuple[Matches, dict[str, list[str]]]:
    """What holds any of the words, and what was looked for besides where few do."""
    if not request.uses(Leg.LEXICAL):
        return NOTHING, {}
    for start in asked.beginnings:
        begun = await postings.beginning(session, scope.index.slot, start, BEGINNINGS)
        words.update({term: 1 for term in begun if term not in words})
    weights = {analysis.term_id(term): float(often) for term, often in words.items()}
    found = _within(await reader.matches(session, scope.index.slot, weights, scope.look.known), scope)
    corrections: dict[str, list[str]] = {}
    misspelt = [term for term in words if analysis.term_id(term) in found.missing and len(term) >= SHORTEST]
    if misspelt and len(found.best(FEW_MATCHES).versions) < FEW_MATCHES:
        typed = {term: word[0] for word in analysis.words(asked.words) for term in analysis.terms_of_word(word[0])}
        for term in misspelt[:CORRECTED]:
            if alike := await postings.like(session, scope.index.slot, term, ALIKE):
                corrections[typed.get(term, term)] = alike
                weights |= {analysis.term_id(each): CORRECTION for each in alike if each not in words}
        if corrections:
            found = _within(await reader.matches(session, scope.index.slot, weights), scope)
            words.update(each for alike in corrections.values() for each in alike)
    return found, corrections


def _within(matches: Matches, scope: Scope) -> Matches:
    if scope.allowed is not None:
        return matches.only(scope.allowed)
    return matches if scope.excluded is None else matches.without(scope.excluded)


async def by_words(session: AsyncSession, matches: Matches, scope: Scope, most: int, found: Found) -> Matches:
    """The best of what the filters let through: as many as asked for where there are as many."""
    best = await _best(session, matches, scope, most, found)
    found.lexical = _results(best.versions, best.scores)
    return best


async def _best(session: AsyncSession, matches: Matches, scope: Scope, most: int, found: Found) -> Matches:
    if scope.allowed is not None:
        return matches.best(most)
    window = most + most // 4
    while True:
        first = matches.best(window)
        passing = await repository.standing(session, first.versions, scope.gate, scope.look)
        found.standing |= passing
        kept = first.only(repository.versions_of(passing))
        if len(kept.versions) >= most or len(first.versions) < window:
            return kept.best(most)
        window *= 4


def _results(versions: Versions, scores: Any) -> Results:
    return dict(zip(versions.tolist(), zip(scores.tolist(), count(1), strict=False), strict=True))


# --- Meaning --------------------------------------------------------------------------------------------


async def vector(
    embedder: Embedder | None, index: Index, request: SearchRequest, words: str, clock: Clock
) -> tuple[Vector | None, list[LeftOut]]:
    """What the vector leg looks for; None where it is not asked, or cannot be: the words are asked alone then."""
    if not request.uses(Leg.VECTOR):
        return None, []
    if request.vector is not None:
        if len(request.vector) != index.dimensions:
            raise WrongVector(f"the model {index.model} has {index.dimensions} dimensions", pointer="/vector")
        given = np.array(request.vector, np.float64)
        asked: Vector = (given / np.linalg.norm(given)).astype(np.float32)
        return asked, []
    try:
        with telemetry.tracer.start_as_current_span("embed query"), clock.phase("embedding"):
            if embedder is None:
                raise NoModel(f"the index is of the model {index.model}, which this process does not have")
            embedded: Vector = (await embedder.embed([words], urgency=Urgency.QUERY))[0]
            return embedded, []
    except TooBusy:
        raise
    except Unavailable as error:
        if not request.uses(Leg.LEXICAL):
            raise
        log.warning("searched by words alone: %s", error)
        return None, [LeftOut(leg=Leg.VECTOR, reason=str(error))]


async def by_meaning(
    session: AsyncSession,
    tools: Tools,
    vector: Vector,
    scope: Scope,
    most: int,
    found: Found,
    *,
    describing: bool = False,
) -> None:
    """The nearest documents that the filters let through: as many as asked for where there are as many.

    `describing`, what is shown of them is looked up by the same statement.
    """
    passages = most
    while True:
        near, found.selected_by = await nearest(
            session, tools, vector, scope, passages, found, describing=describing and scope.excluded is None
        )
        kept = near.without(scope.excluded) if scope.excluded is not None else near
        if len(kept.versions) >= most or near.looked_at < passages:
            break
        # Long documents have brought several passages each.
        passages *= 2
    found.vector = _results(kept.versions[:most], kept.scores[:most])
    found.places |= zip(kept.versions.tolist(), zip(kept.starts, kept.stops, strict=True), strict=True)


async def nearest(
    session: AsyncSession,
    tools: Tools,
    vector: Vector,
    scope: Scope,
    most: int,
    found: Found | None = None,
    *,
    describing: bool = False,
) -> tuple[Nearest, SelectedBy]:
    """The documents of the `most` nearest passages that the filters let through, and how they were selected.

    What was looked up for it is added to `found`.
    """
    if scope.allowed is not None:
        return await _compared(session, tools.memory, vector, scope.index, scope.allowed, most), "comparing"
    if await tools.memory.holds(session, scope.index, scope.look.known):
        return await _proposed(session, tools, vector, scope, most, found or Found(), describing=describing)
    await repository.prepare(session, most, filtered=scope.gate.condition is not None)
    near = await repository.nearest(session, scope.index, vector, scope.gate, most)
    if near.looked_at >= most:
        return near, "index"
    # The index gave up before the filters had let enough through: their documents lie far from the query.
    return await repository.nearest_by_scan(session, scope.index, vector, scope.gate, most), "index, then comparing"


async def _proposed(
    session: AsyncSession,
    tools: Tools,
    vector: Vector,
    scope: Scope,
    most: int,
    found: Found,
    *,
    describing: bool,
) -> tuple[Nearest, SelectedBy]:
    """The same by what is in memory: the nearest of all, those of them that the filters let through."""
    window = most + SPARE
    if scope.gate.condition is not None:
        window = min(WIDEST, int(ROOM * most / max(tools.counter.share(scope.gate), 1e-6)) + SPARE)
    while window <= WIDEST:
        passages = await tools.memory.nearest(scope.index, vector, window)
        near = Nearest.of(passages, len(passages.versions))
        await _look_up(session, near, scope, most, found, describing=describing)
        passing = np.flatnonzero([version in found.standing for version in near.versions.tolist()])
        documents = len(passing)
        if documents >= most:
            tools.counter.learn(scope.gate, most / (passing[most - 1] + 1))
            return replace(near.at(passing[:most]), looked_at=most), "codes"
        if near.looked_at < window:
            return replace(near.at(passing), looked_at=documents), "codes"
        # As many as may bring enough, judged by how many these have brought.
        window = max(2 * window, 2 * window * most // max(documents, 1))
    versions = await repository.probe(session, scope.gate, scope.look)
    return await _compared(session, tools.memory, vector, scope.index, versions, most), "codes, then comparing"


async def _look_up(
    session: AsyncSession, near: Nearest, scope: Scope, most: int, found: Found, *, describing: bool
) -> None:
    """What there is to know of `near` for one ranking; or for showing it, of the first `most` that pass."""
    if describing:
        found.described = await repository.described(
            session, near.versions.tolist(), near.starts, near.stops, scope.gate, most, scope.look
        )
        found.standing |= {version: (row["state"], row["updated_at"]) for version, row in found.described.items()}
        return
    unknown = [version for version in near.versions.tolist() if version not in found.standing]
    found.standing |= await repository.standing(session, np.array(unknown, np.int32), scope.gate, scope.look)


async def _compared(
    session: AsyncSession, memory: Memory, vector: Vector, index: Index, versions: Versions, most: int
) -> Nearest:
    """The nearest passages of the documents `versions`."""
    near = await memory.nearest_of(session, index, versions, vector, most)
    return Nearest.of(near, len(near.versions))


# --- One ranking ----------------------------------------------------------------------------------------


async def fused(
    session: AsyncSession,
    tools: Tools,
    scope: Scope,
    vector: Vector,
    matches: Matches,
    found: Found,
    request: SearchRequest,
) -> list[tuple[int, float]]:
    """The candidates of both legs with their scores, the best first. `found` then has both legs' scores of each."""
    versions = np.array(list(found.lexical | found.vector), np.int32)
    held = await tools.memory.kept(session, scope.index, versions, vector)
    if unknown := [version for version in versions.tolist() if version not in found.standing]:
        found.standing |= await repository.standing(session, np.array(unknown, np.int32), Gate(), scope.look)
    passages, there = held.compared, found.standing
    # Of each document its nearest passage; of what was deleted meanwhile none.
    order = np.lexsort((-passages.cosines, passages.versions))
    of = passages.versions[order]
    first = np.append(True, of[1:] != of[:-1]) & np.array([version in there for version in of.tolist()], bool)
    best = order[first[: len(order)]]
    known = passages.versions[best]
    ids, cosines = known.tolist(), passages.cosines[best]
    found.cosines = dict(zip(ids, cosines.tolist(), strict=True))
    found.words = matches.of(known)
    found.places |= zip(
        ids, zip(passages.starts[best].tolist(), passages.stops[best].tolist(), strict=True), strict=True
    )
    weight = request.fusion.lexical_weight
    if request.fusion.method == "ranks":
        parts = fusion.by_ranks(_ranks(found.lexical, ids), _ranks(found.vector, ids), weight)
    else:
        lexical = np.array([found.words.get(version, 0.0) for version in ids])
        parts = fusion.by_scores(
            lexical, cosines.astype(np.float64), lambda leader: held.like(int(best[leader]))[best], weight
        )
    recency = fusion.recency([there[version][1] for version in ids], datetime.now(UTC))
    standing = fusion.standing([there[version][0] for version in ids])
    if request.explain:
        rows = zip(ids, *(each.tolist() for each in (*parts, recency, standing)), strict=True)
        found.parts = {
            version: FusionParts(lexical=lexical, vector=meaning, recency=recent, state=state)
            for version, lexical, meaning, recent, state in rows
        }
    scores = parts[0] + parts[1] + recency + standing
    ranked = np.lexsort((-known, -scores))
    return list(zip(known[ranked].tolist(), np.clip(scores[ranked], 0, 1).tolist(), strict=True))


def _ranks(results: Results, versions: Sequence[int]) -> fusion.Scores:
    ranks = [results[version][1] if version in results else None for version in versions]
    return np.array([np.nan if rank is None else rank for rank in ranks], np.float64)
