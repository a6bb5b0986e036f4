"""Find what a question means: what may be found, two legs, one ranking, and what of each hit is shown."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import telemetry
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_search.documents import rules
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.postings.reading import Reader
from plumbline_search.postings.scoring import Matches, Versions
from plumbline_search.searches import counting, filters, hits, legs, repository
from plumbline_search.searches.clock import Clock
from plumbline_search.searches.filters import AllOf, Filter, IsIn
from plumbline_search.searches.legs import CANDIDATES, Found, Scope, Tools
from plumbline_search.searches.looking import Look, Outdated
from plumbline_search.searches.repository import Gate
from plumbline_search.searches.schemas import (
    LeftOut,
    Leg,
    SearchFacetCount,
    SearchRequest,
    SearchResponse,
    Suggestion,
)
from plumbline_search.text import analysis, question
from plumbline_search.text.question import Question

FACET_VALUES = 50


class UnknownFacet(Invalid):
    slug = "unknown-facet"
    title = "No document has this facet"


async def answer(session: AsyncSession, tools: Tools, request: SearchRequest, actor: UserInfo) -> bytes:
    """A `SearchResponse` as JSON: the best documents by words and by meaning, of those that `actor` may read.

    What was asked in words a moment ago need not be looked for again. The words are looked up while the query is
    embedded. What the index has is taken to be what the search before saw, and checked by a statement that is needed
    anyway: where it is something else by now, the search begins anew.

    `session` must be in autocommit: the embedding is made by another process, and no transaction waits for it.
    Raises `UnknownFacet`, and what the embedder raises.
    """
    clock = Clock()
    look = await tools.looks.look(session, tools.serving.live)
    key = _key(look.index, request, actor) if request.vector is None else None
    body = None if key is None else await tools.answers.get(session, key, look)
    if body is None:
        async with _asked(tools, request, look, clock) as (asked, vector):
            body = None if key is None else await tools.answers.left(session, key, look)
            if body is None:
                found = await _answered(session, tools, request, actor, asked, look, vector, clock)
                body = found.model_dump_json(exclude={"took_ms"}).encode()
                if key is not None and not found.left_out:
                    tools.answers.put(key, body, look)
    tools.looks.remember(look)
    took = clock.took()
    return body[:-1] + b',"took_ms":' + took.model_dump_json().encode() + b"}"


def _key(index: Index, request: SearchRequest, actor: UserInfo) -> bytes:
    """Equal for questions that have the same answer."""
    teams = rules.teams_of(actor)
    parts = [index.id, None if teams is None else sorted(teams), request.model_dump_json()]
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).digest()


Embedded = Callable[[], Awaitable[tuple[Vector | None, list[LeftOut]]]]


@contextlib.asynccontextmanager
async def _asked(
    tools: Tools, request: SearchRequest, look: Look, clock: Clock
) -> AsyncIterator[tuple[Question, Embedded]]:
    """The question, which is embedded meanwhile."""
    asked = question.parsed(request.query or "")
    embedder = tools.serving.embedder(look.index)
    async with _beside(legs.vector(embedder, look.index, request, asked.words, clock)) as vector:
        yield asked, vector


@contextlib.asynccontextmanager
async def _beside(vector: Coroutine[Any, Any, tuple[Vector | None, list[LeftOut]]]) -> AsyncIterator[Embedded]:
    """It is made meanwhile."""
    task = asyncio.create_task(vector)
    try:
        yield lambda: asyncio.shield(task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _answered(
    session: AsyncSession,
    tools: Tools,
    request: SearchRequest,
    actor: UserInfo,
    asked: Question,
    look: Look,
    embedded: Embedded,
    clock: Clock,
) -> SearchResponse:
    """Begun anew where the index turns out to have something else than `look` says."""
    try:
        return await _found(session, tools, request, actor, asked, look, embedded, clock)
    except Outdated:
        return await _found(session, tools, request, actor, asked, look, embedded, clock)


async def _found(
    session: AsyncSession,
    tools: Tools,
    request: SearchRequest,
    actor: UserInfo,
    asked: Question,
    look: Look,
    embedded: Embedded,
    clock: Clock,
) -> SearchResponse:
    """Raises `Outdated` where the index has something else than `look` says, which then says it."""
    found, deepest = Found(), request.skip + request.limit
    words = analysis.counts(asked.words)
    scope = await _scope(session, tools, look, request, actor)
    scope, ignored = await _narrowed(session, tools.reader, asked, scope)
    with telemetry.tracer.start_as_current_span("search by words"), clock.phase("lexical"):
        matches, corrections = await legs.matches(session, tools.reader, request, asked, words, scope)
        most = CANDIDATES if request.uses(Leg.VECTOR) else deepest
        by_words = await legs.by_words(session, matches, scope, most, found)
    vector, left_out = await embedded()
    if vector is None:
        best = float(by_words.scores[0]) if len(by_words.scores) else 1.0
        ranking = [(version, score / best) for version, (score, _) in found.lexical.items()]
    else:
        with telemetry.tracer.start_as_current_span("search by meaning"), clock.phase("vector"):
            ranking = await _by_meaning(session, tools, request, scope, vector, matches, found)
    with clock.phase("documents"):
        page = ranking[request.skip : deepest]
        rows = await _rows(session, page, found)
        await repository.check(session, look)
        total, is_exact = await _total(session, request, scope, matches)
        facets = {facet: await _counts(session, scope, facet) for facet in request.facets}
        by_term = await hits.by_term(session, tools.reader, scope, words, rows) if request.explain else None
    with clock.phase("highlights"):
        items = hits.hits(page, rows, found, list(words), by_term)
    return SearchResponse(
        items=items,
        total=total,
        total_is="exact" if is_exact else "at_least",
        facets=facets,
        corrections=corrections,
        ignored=ignored,
        suggestions=await _suggestions(session, tools, scope, request, actor) if _is_empty(scope) else [],
        left_out=left_out,
        explanation=hits.explanation(scope, found) if request.explain else None,
        took_ms=clock.took(),
    )


async def _by_meaning(
    session: AsyncSession,
    tools: Tools,
    request: SearchRequest,
    scope: Scope,
    vector: Vector,
    matches: Matches,
    found: Found,
) -> list[tuple[int, float]]:
    """Versions and scores, the best first: of the vector leg, or of both where both are asked."""
    deepest = request.skip + request.limit
    if not request.uses(Leg.LEXICAL):
        await legs.by_meaning(session, tools, vector, scope, deepest, found, describing=not request.skip)
        return [(version, min(max(0.0, score), 1.0)) for version, (score, _) in found.vector.items()]
    await legs.by_meaning(session, tools, vector, scope, CANDIDATES, found)
    ranking = await legs.fused(session, tools, scope, vector, matches, found, request)
    if len(ranking) < deepest:
        # Behind the candidates the meaning alone ranks: that is known of every document.
        await legs.by_meaning(session, tools, vector, scope, deepest + len(ranking), found)
        seen = {version for version, _ in ranking}
        ranking += [(version, 0.0) for version in found.vector if version not in seen]
    return ranking


async def _rows(session: AsyncSession, page: Sequence[tuple[int, float]], found: Found) -> dict[int, Any]:
    """What is shown of the documents of `page`, by version."""
    unknown = [version for version, _ in page if version not in found.described]
    places = [found.places.get(version, (0, 0)) for version in unknown]
    read = await repository.described(session, unknown, [start for start, _ in places], [stop for _, stop in places])
    rows = found.described | read
    return {version: rows[version] for version, _ in page if version in rows}


# --- What the filters let through -----------------------------------------------------------------------


async def _scope(session: AsyncSession, tools: Tools, look: Look, request: SearchRequest, actor: UserInfo) -> Scope:
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
    return Scope(look, gate, await tools.counter.few(session, gate, look))


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
    best = matches.best(counting.COUNTED + 1).versions
    first = await repository.passing(session, best[: counting.COUNTED], scope.gate)
    return len(first), len(best) <= counting.COUNTED


async def _counts(session: AsyncSession, scope: Scope, facet: str) -> list[SearchFacetCount]:
    counted = await repository.facet_counts(session, scope.gate, facet, FACET_VALUES)
    return [SearchFacetCount(value=value, count=count) for value, count in counted]


async def _narrowed(session: AsyncSession, reader: Reader, asked: Question, scope: Scope) -> tuple[Scope, list[str]]:
    """What the phrases and exclusions leave of `scope`; and the phrases that no document holds."""
    allowed, ignored = scope.allowed, []
    if asked.phrases or asked.excluded:
        await repository.check(session, scope.look)
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
    held = await reader.holding(session, scope.index.slot, terms, scope.look.known)
    return await repository.with_phrase(session, held, pattern) if len(phrase.split()) > 1 else held


def _is_empty(scope: Scope) -> bool:
    """Whether there is nothing to find, whatever is asked."""
    return scope.allowed is not None and not len(scope.allowed)


async def _suggestions(
    session: AsyncSession, tools: Tools, scope: Scope, request: SearchRequest, actor: UserInfo
) -> list[Suggestion]:
    found = []
    for name in ("kinds", "service", "team", "filter"):
        if getattr(request, name) is not None:
            wider = request.model_copy(update={name: None})
            there = (await _scope(session, tools, scope.look, wider, actor)).allowed
            total, is_exact = (counting.FEW, False) if there is None else (len(there), True)
            if total:
                found.append(Suggestion(without=name, total=total, total_is="exact" if is_exact else "at_least"))
    return found
