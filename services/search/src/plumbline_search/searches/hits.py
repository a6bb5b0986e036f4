"""What an answer shows of the documents that were found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.postings.reading import Reader
from plumbline_search.searches.legs import Found, Results, Scope
from plumbline_search.searches.schemas import (
    DocumentKind,
    Highlights,
    HitExplanation,
    LegResult,
    SearchExplanation,
    SearchHit,
    SearchLegs,
    TermScore,
)
from plumbline_search.text import analysis, highlights


async def by_term(
    session: AsyncSession, reader: Reader, scope: Scope, words: Counter[str], versions: Iterable[int]
) -> dict[int, list[TermScore]]:
    """What each term adds to the lexical leg's score, by version."""
    shown = np.array(list(versions), np.int32)
    found: dict[int, list[TermScore]] = {int(version): [] for version in shown}
    for term, often in words.items():
        weight = {analysis.term_id(term): float(often)}
        matches = await reader.matches(session, scope.index.slot, weight, scope.look.known)
        for version, score in matches.of(shown).items():
            found[version].append(TermScore(term=term, score=score))
    return found


def explanation(scope: Scope, found: Found) -> SearchExplanation:
    return SearchExplanation(
        index=scope.index.id,
        model=scope.index.model,
        analysis=scope.index.analysis,
        matching=None if scope.allowed is None else len(scope.allowed),
        selected_by=found.selected_by,
        lexical_candidates=len(found.lexical),
        vector_candidates=len(found.vector),
    )


def hits(
    page: Sequence[tuple[int, float]],
    rows: dict[int, Any],
    found: Found,
    terms: Sequence[str],
    by_term: dict[int, list[TermScore]] | None,
) -> list[SearchHit]:
    look = highlights.Look(terms)
    shown = []
    for version, score in page:
        if version in rows:
            explained = None
            if by_term is not None:
                start, stop = found.places.get(version, (None, None))
                explained = HitExplanation(
                    terms=by_term[version], parts=found.parts.get(version), passage_start=start, passage_stop=stop
                )
            shown.append(_hit(rows[version], score, found, look, explained))
    return shown


def _hit(
    row: Any,
    score: float,
    found: Found,
    look: highlights.Look,
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
            title=highlights.marked(row["title"], look), fragments=highlights.fragments(body, look)
        ),
        score=score,
        legs=SearchLegs.model_construct(
            lexical=_result(found.lexical, found.words, row["version"]),
            vector=_result(found.vector, found.cosines, row["version"]),
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


def _result(ranked: Results, scores: dict[int, float], version: int) -> LegResult | None:
    if version in ranked:
        score, rank = ranked[version]
        return LegResult.model_construct(score=score, rank=rank)
    return LegResult.model_construct(score=scores[version], rank=None) if version in scores else None
