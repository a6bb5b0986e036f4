"""Find what a question means: two legs, one ranking, and what of each hit is shown."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import telemetry
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_search.documents import rules
from plumbline_search.embedding.embedder import Embedder, Vector
from plumbline_search.postings.reading import Reader
from plumbline_search.postings.scoring import NOTHING, Matches, Versions
from plumbline_search.searches import counting, filters, fusion, repository
from plumbline_search.searches.filters import AllOf, Filter, IsIn
from plumbline_search.searches.repository import Gate
from plumbline_search.searches.schemas import (
    Highlights,
    Leg,
    LegResult,
    SearchFacetCount,
    SearchHit,
    SearchLegs,
    SearchRequest,
    SearchResponse,
    SearchTookMs,
)
from plumbline_search.text import analysis, highlights

CANDIDATES = 100
"""How many documents each leg brings to the fusion. What comes behind them is ranked by one leg alone."""
FACET_VALUES = 50


class UnknownFacet(Invalid):
    slug = "unknown-facet"
    title = "No document has this facet"


@dataclass(frozen=True)
class Tools:
    """What a search works with, and what it remembers: one for each process."""

    embedder: Embedder
    reader: Reader = field(default_factory=Reader)
    counter: counting.Counter = field(default_factory=counting.Counter)


@dataclass(frozen=True)
class Scope:
    """What the filters let through. `allowed` are the versions of all of it where that is few; None where many.

    Of few each is compared: the ranking is exact, and its pages fit together.
    """

    gate: Gate
    allowed: Versions | None


@dataclass
class Found:
    """What the legs say of documents, by version."""

    lexical: dict[int, LegResult] = field(default_factory=dict)
    vector: dict[int, LegResult] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Where the passage is that is nearest to the query."""


async def search(session: AsyncSession, tools: Tools, request: SearchRequest, actor: UserInfo) -> SearchResponse:
    """The best documents by words and by meaning, of those that `actor` may read.

    The words are looked up while the query is embedded.

    `session` must be in autocommit: the embedding is made by another process, and no transaction waits for it.
    Raises `UnknownFacet`, and what the embedder raises.
    """
    clock = _Clock()
    found, deepest = Found(), request.skip + request.limit
    words = analysis.counts(request.query or "")
    embedding = asyncio.create_task(_vector(tools.embedder, request, clock))
    try:
        scope = await _scope(session, tools.counter, request, actor)
        with telemetry.tracer.start_as_current_span("search by words"), clock.phase("lexical"):
            matches = await _matches(session, tools.reader, request, words, scope)
            most = CANDIDATES if request.uses(Leg.VECTOR) else deepest
            by_words = await _best(session, matches, scope, most)
        vector = await embedding
    finally:
        embedding.cancel()
        await asyncio.gather(embedding, return_exceptions=True)
    found.lexical = _results(by_words.versions, by_words.scores)
    if vector is None:
        best = float(by_words.scores[0]) if len(by_words.scores) else 1.0
        ranking = [(version, result.score / best) for version, result in found.lexical.items()]
    else:
        with telemetry.tracer.start_as_current_span("search by meaning"), clock.phase("vector"):
            most = CANDIDATES if request.uses(Leg.LEXICAL) else deepest
            await _by_meaning(session, vector, scope, most, found)
            if request.uses(Leg.LEXICAL):
                ranking = await _fused(session, vector, matches, found, request)
                if len(ranking) < deepest:
                    # Behind the candidates the meaning alone ranks: that is known of every document.
                    await _by_meaning(session, vector, scope, deepest + len(ranking), found)
                    seen = {version for version, _ in ranking}
                    ranking += [(version, 0.0) for version in found.vector if version not in seen]
            else:
                ranking = [(version, max(0.0, result.score)) for version, result in found.vector.items()]
    with clock.phase("documents"):
        page = ranking[request.skip : deepest]
        places = [found.places.get(version, (0, 0)) for version, _ in page]
        rows = await repository.described(
            session, [version for version, _ in page], [start for start, _ in places], [stop for _, stop in places]
        )
        total, is_exact = await _total(session, request, scope, matches)
        facets = {facet: await _counts(session, scope, facet) for facet in request.facets}
    with clock.phase("highlights"):
        items = _hits(page, rows, found, list(words))
    return SearchResponse(
        items=items,
        total=total,
        total_is="exact" if is_exact else "at_least",
        facets=facets,
        took_ms=clock.took(),
    )


# --- What the filters let through -----------------------------------------------------------------------


async def _scope(session: AsyncSession, counter: counting.Counter, request: SearchRequest, actor: UserInfo) -> Scope:
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
    return Scope(gate, await counter.few(session, gate))


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
        return (counting.FEW, False) if scope.allowed is None else (len(scope.allowed), True)
    if scope.allowed is not None:
        return len(matches.versions), True
    first = await repository.passing(session, matches.best(counting.FEW).versions, scope.gate)
    return len(first), len(matches.versions) <= counting.FEW


async def _counts(session: AsyncSession, scope: Scope, facet: str) -> list[SearchFacetCount]:
    counted = await repository.facet_counts(session, scope.gate, facet, FACET_VALUES)
    return [SearchFacetCount(value=value, count=count) for value, count in counted]


# --- The legs -------------------------------------------------------------------------------------------


async def _vector(embedder: Embedder, request: SearchRequest, clock: "_Clock") -> Vector | None:
    """What the vector leg looks for; None where it is not asked."""
    if not request.uses(Leg.VECTOR):
        return None
    if request.vector is not None:
        given = np.array(request.vector, np.float64)
        asked: Vector = (given / np.linalg.norm(given)).astype(np.float32)
        return asked
    assert request.query is not None
    with telemetry.tracer.start_as_current_span("embed query"), clock.phase("embedding"):
        embedded: Vector = (await embedder.embed([request.query], urgent=True))[0]
        return embedded


async def _matches(
    session: AsyncSession, reader: Reader, request: SearchRequest, words: Counter[str], scope: Scope
) -> Matches:
    if not request.uses(Leg.LEXICAL):
        return NOTHING
    weights = {analysis.term_id(term): float(often) for term, often in words.items()}
    matches = await reader.matches(session, weights)
    return matches if scope.allowed is None else matches.only(scope.allowed)


async def _best(session: AsyncSession, matches: Matches, scope: Scope, most: int) -> Matches:
    """The best of what the filters let through: as many as asked for where there are as many."""
    if scope.allowed is not None or not len(matches.versions):
        return matches.best(most)
    window = most + most // 4
    while True:
        first = matches.best(window)
        kept = first.only(await repository.passing(session, first.versions, scope.gate))
        if len(kept.versions) >= most or window >= len(matches.versions):
            return kept.best(most)
        window *= 4


async def _by_meaning(session: AsyncSession, vector: Vector, scope: Scope, most: int, found: Found) -> None:
    """The nearest documents that the filters let through: as many as asked for where there are as many."""
    passages = most
    while True:
        nearest = await _nearest(session, vector, scope, passages)
        if len(nearest.versions) >= most or nearest.looked_at < passages:
            break
        # Long documents have brought several passages each.
        passages *= 2
    found.vector = _results(nearest.versions[:most], nearest.scores[:most])
    found.places |= zip(nearest.versions.tolist(), zip(nearest.starts, nearest.stops, strict=True), strict=True)


async def _nearest(session: AsyncSession, vector: Vector, scope: Scope, most: int) -> repository.Nearest:
    if scope.allowed is not None:
        return await repository.nearest_of(session, vector, scope.allowed, most)
    await repository.prepare(session, most, filtered=scope.gate.condition is not None)
    nearest = await repository.nearest(session, vector, scope.gate, most)
    if nearest.looked_at >= most:
        return nearest
    # The index gave up before the filters had let enough through: their documents lie far from the query.
    return await repository.nearest_by_scan(session, vector, scope.gate, most)


def _results(versions: Versions, scores: Any) -> dict[int, LegResult]:
    return {
        version: LegResult(score=score, rank=rank)
        for rank, (version, score) in enumerate(zip(versions.tolist(), scores.tolist(), strict=True), 1)
    }


# --- One ranking ----------------------------------------------------------------------------------------


async def _fused(
    session: AsyncSession, vector: Vector, matches: Matches, found: Found, request: SearchRequest
) -> list[tuple[int, float]]:
    """The candidates of both legs, the best first. `found` then has both legs' scores of each."""
    versions = np.array(list(found.lexical | found.vector), np.int32)
    passages = await repository.passages(session, vector, versions)
    known = passages.versions.tolist()
    words = matches.only(passages.versions).by_version()
    for version, score, start, stop in zip(
        known, passages.scores.tolist(), passages.starts, passages.stops, strict=True
    ):
        found.places[version] = start, stop
        found.vector.setdefault(version, LegResult(score=score, rank=None))
        if version in words:
            found.lexical.setdefault(version, LegResult(score=words[version], rank=None))
    weight = request.fusion.lexical_weight
    if request.fusion.method == "ranks":
        scores = fusion.by_ranks(_ranks(found.lexical, known), _ranks(found.vector, known), weight)
    else:
        lexical = np.array([words.get(version, 0.0) for version in known])
        scores = fusion.by_scores(lexical, passages.scores.astype(np.float64), passages.vectors, weight)
    scores = scores + fusion.boosts(passages.states, passages.updated_at, datetime.now(UTC))
    ranking = zip(known, np.clip(scores, 0, 1).tolist(), scores.tolist(), strict=True)
    return [(version, shown) for version, shown, score in sorted(ranking, key=lambda each: (-each[2], -each[0]))]


def _ranks(results: dict[int, LegResult], versions: Sequence[int]) -> fusion.Scores:
    ranks = [results[version].rank if version in results else None for version in versions]
    return np.array([np.nan if rank is None else rank for rank in ranks], np.float64)


# --- What is shown --------------------------------------------------------------------------------------


def _hits(
    page: Sequence[tuple[int, float]], rows: dict[int, Any], found: Found, terms: Sequence[str]
) -> list[SearchHit]:
    look = highlights.pattern(terms)
    return [_hit(rows[version], score, found, terms, look) for version, score in page if version in rows]


def _hit(row: Any, score: float, found: Found, terms: Sequence[str], look: re.Pattern[str] | None) -> SearchHit:
    body = row["passage"] or row["beginning"]
    return SearchHit(
        kind=row["kind"],
        entity_id=row["entity_id"],
        revision=row["revision"],
        key=row["key"],
        title=row["title"],
        highlights=Highlights(
            title=highlights.marked(row["title"], terms), fragments=highlights.fragments(body, terms, look)
        ),
        score=score,
        legs=SearchLegs(lexical=found.lexical.get(row["version"]), vector=found.vector.get(row["version"])),
        service=row["service"],
        team=row["team"],
        state=row["state"],
        facets=orjson.loads(row["facets"]),
        updated_at=row["updated_at"],
        external_id=row["external_id"],
        url=row["url"],
    )


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
