"""Find what a question means: two legs, one ranking, and what of each hit is shown."""

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import telemetry
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid, Unavailable
from plumbline_search.documents import rules
from plumbline_search.embedding.embedder import Embedder, TooBusy, Urgency, Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import Serving
from plumbline_search.passages.memory import Memory
from plumbline_search.postings import repository as postings
from plumbline_search.postings.reading import Reader
from plumbline_search.postings.repository import Known
from plumbline_search.postings.scoring import NOTHING, Matches, Versions
from plumbline_search.searches import counting, filters, fusion, repository
from plumbline_search.searches.filters import AllOf, Filter, IsIn
from plumbline_search.searches.repository import Gate, Standing
from plumbline_search.searches.schemas import (
    DocumentKind,
    FusionParts,
    Highlights,
    HitExplanation,
    LeftOut,
    Leg,
    LegResult,
    SearchExplanation,
    SearchFacetCount,
    SearchHit,
    SearchLegs,
    SearchRequest,
    SearchResponse,
    SearchTookMs,
    SelectedBy,
    Suggestion,
    TermScore,
)
from plumbline_search.text import analysis, highlights, question
from plumbline_search.text.question import Question

CANDIDATES = 100
"""How many documents each leg brings to the fusion. What comes behind them is ranked by one leg alone."""
FACET_VALUES = 50
BEGINNINGS = 50
"""Terms that one beginning stands for."""
FEW_MATCHES = 3
"""With fewer, words that no document holds are looked for as if they were misspelt."""
SPARE = 8
"""Of the nearest passages so many more are asked for than are wanted: some may be of one document, or gone."""
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


class UnknownFacet(Invalid):
    slug = "unknown-facet"
    title = "No document has this facet"


@dataclass(frozen=True)
class Tools:
    """What a search works with, and what it remembers: one for each process."""

    serving: Serving
    reader: Reader = field(default_factory=Reader)
    counter: counting.Counter = field(default_factory=counting.Counter)
    memory: Memory = field(default_factory=lambda: Memory(64))


@dataclass(frozen=True)
class Scope:
    """What the filters let through. `allowed` are the versions of all of it where that is few; None where many.

    Of few each is compared, of up to 6,000 whatever is asked: the ranking is exact then, and its pages fit together.
    """

    index: Index
    known: Known
    """What the index had when the search began: both legs look at that."""
    gate: Gate
    allowed: Versions | None
    excluded: Versions | None = None
    """What must not be found; `allowed` has none of it."""


Results = dict[int, tuple[float, int | None]]
"""Score and rank by version, the best first; without a rank those that were worked out for the fusion."""


@dataclass
class Found:
    """What the legs say of documents, by version."""

    lexical: Results = field(default_factory=dict)
    vector: Results = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Where the passage is that is nearest to the query."""
    standing: Standing = field(default_factory=dict)
    """Of those that were looked up: they are there, and may be shown."""
    parts: dict[int, FusionParts] = field(default_factory=dict)
    """What a score is made of, of the candidates of both legs."""
    selected_by: SelectedBy | None = None


async def search(session: AsyncSession, tools: Tools, request: SearchRequest, actor: UserInfo) -> SearchResponse:
    """The best documents by words and by meaning, of those that `actor` may read.

    The words are looked up while the query is embedded.

    `session` must be in autocommit: the embedding is made by another process, and no transaction waits for it.
    Raises `UnknownFacet`, and what the embedder raises.
    """
    clock = _Clock()
    found, deepest = Found(), request.skip + request.limit
    asked = question.parsed(request.query or "")
    words = analysis.counts(asked.words)
    index = tools.serving.live
    embedding = asyncio.create_task(_vector(tools.serving.embedder(index), index, request, asked.words, clock))
    try:
        scope = await _scope(session, index, tools.counter, request, actor)
        scope, ignored = await _narrowed(session, tools.reader, asked, scope)
        with telemetry.tracer.start_as_current_span("search by words"), clock.phase("lexical"):
            matches, corrections = await _matches(session, tools.reader, request, asked, words, scope)
            most = CANDIDATES if request.uses(Leg.VECTOR) else deepest
            by_words = await _best(session, matches, scope, most, found)
        vector, left_out = await embedding
    finally:
        embedding.cancel()
        await asyncio.gather(embedding, return_exceptions=True)
    found.lexical = _results(by_words.versions, by_words.scores)
    if vector is None:
        best = float(by_words.scores[0]) if len(by_words.scores) else 1.0
        ranking = [(version, score / best) for version, (score, _) in found.lexical.items()]
    else:
        with telemetry.tracer.start_as_current_span("search by meaning"), clock.phase("vector"):
            most = CANDIDATES if request.uses(Leg.LEXICAL) else deepest
            await _by_meaning(session, tools.memory, vector, scope, most, found)
            if request.uses(Leg.LEXICAL):
                ranking = await _fused(session, tools.memory, scope.index, vector, matches, found, request)
                if len(ranking) < deepest:
                    # Behind the candidates the meaning alone ranks: that is known of every document.
                    await _by_meaning(session, tools.memory, vector, scope, deepest + len(ranking), found)
                    seen = {version for version, _ in ranking}
                    ranking += [(version, 0.0) for version in found.vector if version not in seen]
            else:
                ranking = [(version, min(max(0.0, score), 1.0)) for version, (score, _) in found.vector.items()]
    with clock.phase("documents"):
        page = ranking[request.skip : deepest]
        places = [found.places.get(version, (0, 0)) for version, _ in page]
        rows = await repository.described(
            session, [version for version, _ in page], [start for start, _ in places], [stop for _, stop in places]
        )
        total, is_exact = await _total(session, request, scope, matches)
        facets = {facet: await _counts(session, scope, facet) for facet in request.facets}
        by_term = await _by_term(session, tools.reader, scope, words, rows) if request.explain else None
    with clock.phase("highlights"):
        items = _hits(page, rows, found, list(words), by_term)
    return SearchResponse(
        items=items,
        total=total,
        total_is="exact" if is_exact else "at_least",
        facets=facets,
        corrections=corrections,
        ignored=ignored,
        suggestions=await _suggestions(session, index, tools.counter, request, actor) if _is_empty(scope) else [],
        left_out=left_out,
        explanation=_explanation(scope, found) if request.explain else None,
        took_ms=clock.took(),
    )


# --- What the filters let through -----------------------------------------------------------------------


async def _scope(
    session: AsyncSession, index: Index, counter: counting.Counter, request: SearchRequest, actor: UserInfo
) -> Scope:
    teams = rules.teams_of(actor)
    parts: list[Filter] = []
    if request.kinds is not None:
        parts.append(_is_in("kind", list(request.kinds)))
    if request.service is not None:
        parts.append(_is_in("service", [request.service]))
    if request.team is not None:
        parts.append(_is_in("team", [request.team]))
    await _check_facets(session, request.facets, "/facets")
    if request.filter is not None:
        parts.append(request.filter)
        await _check_facets(session, filters.facets_of(request.filter), "/filter")
    gate = Gate(AllOf.model_construct(all=parts) if parts else None, teams)
    return Scope(index, await postings.known(session, index.slot), gate, await counter.few(session, gate))


def _is_in(facet: str, values: Sequence[str]) -> IsIn:
    return IsIn.model_validate({"facet": facet, "in": list(values)})


async def _check_facets(session: AsyncSession, named: Iterable[str], pointer: str) -> None:
    names = [name for name in dict.fromkeys(named) if name not in filters.COLUMNS]
    if names and (unknown := await repository.unknown_facets(session, names)):
        raise UnknownFacet(
            f"no document has {' or '.join(unknown)}; every document may have {', '.join(filters.COLUMNS)}",
            pointer=pointer,
        )


async def _total(session: AsyncSession, request: SearchRequest, scope: Scope, matches: Matches) -> tuple[int, bool]:
    """How many documents the answer is chosen from, and whether that is exact."""
    if request.uses(Leg.VECTOR):
        if scope.allowed is not None:
            return len(scope.allowed), True
        return max(0, counting.FEW - (0 if scope.excluded is None else len(scope.excluded))), False
    if scope.allowed is not None:
        return len(matches.versions), True
    first = await repository.passing(session, matches.best(counting.COUNTED).versions, scope.gate)
    return len(first), len(matches.versions) <= counting.COUNTED


async def _counts(session: AsyncSession, scope: Scope, facet: str) -> list[SearchFacetCount]:
    counted = await repository.facet_counts(session, scope.gate, facet, FACET_VALUES)
    return [SearchFacetCount(value=value, count=count) for value, count in counted]


async def _narrowed(session: AsyncSession, reader: Reader, asked: Question, scope: Scope) -> tuple[Scope, list[str]]:
    """What the phrases and exclusions leave of `scope`; and the phrases that no document holds."""
    allowed, ignored = scope.allowed, []
    for phrase in asked.phrases:
        held = await _holding(session, reader, scope, phrase)
        if not len(held):
            ignored.append(phrase)
            continue
        held = await repository.passing(session, held, scope.gate)
        allowed = held if allowed is None else np.intersect1d(allowed, held)
    excluded = [await _holding(session, reader, scope, each) for each in asked.excluded]
    if not excluded:
        return replace(scope, allowed=allowed), ignored
    gone = np.unique(np.concatenate(excluded)).astype(np.int32)
    if allowed is not None:
        allowed = allowed[~np.isin(allowed, gone)]
    return replace(scope, allowed=allowed, excluded=gone), ignored


async def _holding(session: AsyncSession, reader: Reader, scope: Scope, phrase: str) -> Versions:
    """What holds the words of `phrase`, one after the other."""
    terms = {analysis.term_id(term) for term in analysis.terms(phrase)}
    pattern = question.pattern(phrase)
    if not terms or pattern is None:
        return np.empty(0, np.int32)
    held = await reader.holding(session, scope.index.slot, terms, scope.known)
    return await repository.with_phrase(session, held, pattern) if len(phrase.split()) > 1 else held


def _is_empty(scope: Scope) -> bool:
    """Whether there is nothing to find, whatever is asked."""
    return scope.allowed is not None and not len(scope.allowed)


async def _suggestions(
    session: AsyncSession, index: Index, counter: counting.Counter, request: SearchRequest, actor: UserInfo
) -> list[Suggestion]:
    found = []
    for name in ("kinds", "service", "team", "filter"):
        if getattr(request, name) is not None:
            scope = await _scope(session, index, counter, request.model_copy(update={name: None}), actor)
            total, is_exact = (counting.FEW, False) if scope.allowed is None else (len(scope.allowed), True)
            if total:
                found.append(Suggestion(without=name, total=total, total_is="exact" if is_exact else "at_least"))
    return found


# --- The legs -------------------------------------------------------------------------------------------


async def _vector(
    embedder: Embedder | None, index: Index, request: SearchRequest, words: str, clock: "_Clock"
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


async def _matches(
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
    matches = _within(await reader.matches(session, scope.index.slot, weights, scope.known), scope)
    corrections: dict[str, list[str]] = {}
    if len(matches.versions) < FEW_MATCHES:
        typed = {term: word[0] for word in analysis.words(asked.words) for term in analysis.terms_of_word(word[0])}
        misspelt = [term for term in words if analysis.term_id(term) in matches.missing and len(term) >= SHORTEST]
        for term in misspelt[:CORRECTED]:
            if alike := await postings.like(session, scope.index.slot, term, ALIKE):
                corrections[typed.get(term, term)] = alike
                weights |= {analysis.term_id(each): CORRECTION for each in alike if each not in words}
        if corrections:
            matches = _within(await reader.matches(session, scope.index.slot, weights), scope)
            words.update(each for alike in corrections.values() for each in alike)
    return matches, corrections


def _within(matches: Matches, scope: Scope) -> Matches:
    if scope.allowed is not None:
        return matches.only(scope.allowed)
    return matches if scope.excluded is None else matches.without(scope.excluded)


async def _best(session: AsyncSession, matches: Matches, scope: Scope, most: int, found: Found) -> Matches:
    """The best of what the filters let through: as many as asked for where there are as many."""
    if scope.allowed is not None or not len(matches.versions):
        return matches.best(most)
    window = most + most // 4
    while True:
        first = matches.best(window)
        passing = await repository.standing(session, first.versions, scope.gate)
        found.standing |= passing
        kept = first.only(repository.versions_of(passing))
        if len(kept.versions) >= most or window >= len(matches.versions):
            return kept.best(most)
        window *= 4


async def _by_meaning(
    session: AsyncSession, memory: Memory, vector: Vector, scope: Scope, most: int, found: Found
) -> None:
    """The nearest documents that the filters let through: as many as asked for where there are as many."""
    passages = most
    while True:
        near, found.selected_by = await nearest(session, memory, vector, scope, passages, found.standing)
        kept = near.without(scope.excluded) if scope.excluded is not None else near
        if len(kept.versions) >= most or near.looked_at < passages:
            break
        # Long documents have brought several passages each.
        passages *= 2
    found.vector = _results(kept.versions[:most], kept.scores[:most])
    found.places |= zip(kept.versions.tolist(), zip(kept.starts, kept.stops, strict=True), strict=True)


async def nearest(
    session: AsyncSession, memory: Memory, vector: Vector, scope: Scope, most: int, standing: Standing | None = None
) -> tuple[repository.Nearest, SelectedBy]:
    """The documents of the `most` nearest passages that the filters let through, and how they were selected.

    What was looked up for it is added to `standing`.
    """
    if scope.allowed is not None:
        return await _compared(session, memory, vector, scope.index, scope.allowed, most), "comparing"
    if await memory.holds(session, scope.index, scope.known):
        return await _proposed(session, memory, vector, scope, most, {} if standing is None else standing)
    await repository.prepare(session, most, filtered=scope.gate.condition is not None)
    near = await repository.nearest(session, scope.index, vector, scope.gate, most)
    if near.looked_at >= most:
        return near, "index"
    # The index gave up before the filters had let enough through: their documents lie far from the query.
    return await repository.nearest_by_scan(session, scope.index, vector, scope.gate, most), "index, then comparing"


async def _proposed(
    session: AsyncSession, memory: Memory, vector: Vector, scope: Scope, most: int, standing: Standing
) -> tuple[repository.Nearest, SelectedBy]:
    """The same by what is in memory: the nearest of all, those of them that the filters let through."""
    window = 8 * most if scope.gate.condition is not None else most + SPARE
    while window <= WIDEST:
        near = await memory.nearest(scope.index, vector, window)
        unknown = [version for version in near.versions.tolist() if version not in standing]
        standing |= await repository.standing(session, np.array(unknown, np.int32), scope.gate)
        found = repository.Nearest.of(near.only(repository.versions_of(standing)), most)
        documents = len(found.versions)
        if documents >= most:
            return found, "codes"
        if len(near.versions) < window:
            return replace(found, looked_at=documents), "codes"
        # As many as may bring enough, judged by how many these have brought.
        window = max(2 * window, 2 * window * most // max(documents, 1))
    versions = await repository.probe(session, scope.gate)
    return await _compared(session, memory, vector, scope.index, versions, most), "codes, then comparing"


async def _compared(
    session: AsyncSession, memory: Memory, vector: Vector, index: Index, versions: Versions, most: int
) -> repository.Nearest:
    """The nearest passages of the documents `versions`."""
    near = await memory.nearest_of(session, index, versions, vector, most)
    return repository.Nearest.of(near, len(near.versions))


def _results(versions: Versions, scores: Any) -> Results:
    return dict(zip(versions.tolist(), zip(scores.tolist(), count(1), strict=False), strict=True))


# --- One ranking ----------------------------------------------------------------------------------------


async def _fused(
    session: AsyncSession,
    memory: Memory,
    index: Index,
    vector: Vector,
    matches: Matches,
    found: Found,
    request: SearchRequest,
) -> list[tuple[int, float]]:
    """The candidates of both legs, the best first. `found` then has both legs' scores of each."""
    versions = np.array(list(found.lexical | found.vector), np.int32)
    held, vectors = await memory.vectors(session, index, versions, vector)
    if unknown := [version for version in versions.tolist() if version not in found.standing]:
        found.standing |= await repository.standing(session, np.array(unknown, np.int32), Gate())
    there = found.standing
    cosines = held.cosines
    # Of each document its nearest passage; of what was deleted meanwhile none.
    order = np.lexsort((-cosines, held.versions))
    of, first = np.unique(held.versions[order], return_index=True)
    best = order[first][np.isin(of, repository.versions_of(there))]
    cosines, known = cosines[best], held.versions[best].tolist()
    words = matches.of(held.versions[best])
    places = zip(held.starts[best].tolist(), held.stops[best].tolist(), strict=True)
    for version, score, place in zip(known, cosines.tolist(), places, strict=True):
        found.places[version] = place
        found.vector.setdefault(version, (score, None))
        if version in words:
            found.lexical.setdefault(version, (words[version], None))
    weight = request.fusion.lexical_weight
    if request.fusion.method == "ranks":
        parts = fusion.by_ranks(_ranks(found.lexical, known), _ranks(found.vector, known), weight)
    else:
        lexical = np.array([words.get(version, 0.0) for version in known])
        parts = fusion.by_scores(lexical, cosines.astype(np.float64), vectors[best], weight)
    recency = fusion.recency([there[version][1] for version in known], datetime.now(UTC))
    standing = fusion.standing([there[version][0] for version in known])
    if request.explain:
        rows = zip(known, *(each.tolist() for each in (*parts, recency, standing)), strict=True)
        found.parts = {
            version: FusionParts(lexical=lexical, vector=meaning, recency=recent, state=state)
            for version, lexical, meaning, recent, state in rows
        }
    scores = parts[0] + parts[1] + recency + standing
    ranking = zip(known, np.clip(scores, 0, 1).tolist(), scores.tolist(), strict=True)
    return [(version, shown) for version, shown, score in sorted(ranking, key=lambda each: (-each[2], -each[0]))]


def _ranks(results: Results, versions: Sequence[int]) -> fusion.Scores:
    ranks = [results[version][1] if version in results else None for version in versions]
    return np.array([np.nan if rank is None else rank for rank in ranks], np.float64)


# --- What is shown --------------------------------------------------------------------------------------


async def _by_term(
    session: AsyncSession, reader: Reader, scope: Scope, words: Counter[str], versions: Iterable[int]
) -> dict[int, list[TermScore]]:
    """What each term adds to the lexical leg's score, by version."""
    shown = np.array(list(versions), np.int32)
    found: dict[int, list[TermScore]] = {int(version): [] for version in shown}
    for term, often in words.items():
        weight = {analysis.term_id(term): float(often)}
        matches = await reader.matches(session, scope.index.slot, weight, scope.known)
        for version, score in matches.of(shown).items():
            found[version].append(TermScore(term=term, score=score))
    return found


def _explanation(scope: Scope, found: Found) -> SearchExplanation:
    return SearchExplanation(
        index=scope.index.id,
        model=scope.index.model,
        analysis=scope.index.analysis,
        matching=None if scope.allowed is None else len(scope.allowed),
        selected_by=found.selected_by,
        lexical_candidates=len(found.lexical),
        vector_candidates=len(found.vector),
    )


def _hits(
    page: Sequence[tuple[int, float]],
    rows: dict[int, Any],
    found: Found,
    terms: Sequence[str],
    by_term: dict[int, list[TermScore]] | None,
) -> list[SearchHit]:
    look = highlights.pattern(terms)
    hits = []
    for version, score in page:
        if version in rows:
            explained = None
            if by_term is not None:
                start, stop = found.places.get(version, (None, None))
                explained = HitExplanation(
                    terms=by_term[version], parts=found.parts.get(version), passage_start=start, passage_stop=stop
                )
            hits.append(_hit(rows[version], score, found, terms, look, explained))
    return hits


def _hit(
    row: Any,
    score: float,
    found: Found,
    terms: Sequence[str],
    look: re.Pattern[str] | None,
    explained: HitExplanation | None,
) -> SearchHit:
    body = row["passage"] or row["beginning"]
    return SearchHit.model_construct(
        kind=DocumentKind(row["kind"]),
        entity_id=row["entity_id"],
        revision=row["revision"],
        key=row["key"],
        title=row["title"],
        highlights=Highlights.model_construct(
            title=highlights.marked(row["title"], terms, look), fragments=highlights.fragments(body, terms, look)
        ),
        score=score,
        legs=SearchLegs.model_construct(
            lexical=_result(found.lexical, row["version"]), vector=_result(found.vector, row["version"])
        ),
        service=row["service"],
        team=row["team"],
        state=row["state"],
        facets=orjson.loads(row["facets"]),
        updated_at=row["updated_at"],
        external_id=row["external_id"],
        url=row["url"],
        explanation=explained,
    )


def _result(results: Results, version: int) -> LegResult | None:
    if version not in results:
        return None
    score, rank = results[version]
    return LegResult.model_construct(score=score, rank=rank)


class _Clock:
    """Milliseconds by phase."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._phases = dict.fromkeys(("embedding", "lexical", "vector", "documents", "highlights"), 0.0)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._phases[name] = _since(began)

    def took(self) -> SearchTookMs:
        return SearchTookMs(**self._phases, total=_since(self._began))


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
