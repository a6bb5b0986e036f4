"""What is like a document: by the meaning of its passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.auth import UserInfo
from plumbline_common.errors import NotFound
from plumbline_search.documents import rules
from plumbline_search.indexes.repository import Index
from plumbline_search.searches import duplicates, looking, repository
from plumbline_search.searches.filters import AllOf, Filter, IsIn
from plumbline_search.searches.legs import Scope, Tools, nearest
from plumbline_search.searches.repository import Gate
from plumbline_search.searches.schemas import DocumentKind, Ended, SimilarDocument, SimilarPage
from plumbline_search.text import analysis, highlights

PASSAGES = 8
"""Of the document that is compared: the first ones say what it is about."""
MOST = 200
"""How many documents one is found like."""
LIKE = 0.5
"""Cosine from which on a document is called similar."""


class NoSuchDocument(NotFound):
    slug = "document-not-found"
    title = "There is no such document"


@dataclass(frozen=True)
class Alike:
    version: int
    similarity: float
    start: int
    """Of its passage that is nearest, as `stop`."""
    stop: int


async def alike(session: AsyncSession, tools: Tools, index: Index, version: int, gate: Gate) -> list[Alike]:
    """The documents of `gate` that are similar to the one of `version`, the most similar first; not itself.

    Similarity is the cosine of the two nearest passages.
    """
    look = await looking.look(session, index)
    scope = Scope(look, gate, await tools.counter.few(session, gate, look))
    found: dict[int, Alike] = {}
    for vector in await repository.vectors_of(session, index, version, PASSAGES):
        near, _ = await nearest(session, tools, vector, scope, MOST + 1)
        rows = zip(near.versions.tolist(), near.scores.tolist(), near.starts, near.stops, strict=True)
        for other, score, start, stop in rows:
            if other != version and score >= LIKE and (other not in found or found[other].similarity < score):
                found[other] = Alike(other, min(score, 1.0), start, stop)
    return sorted(found.values(), key=lambda each: (-each.similarity, -each.version))[:MOST]


async def page(
    session: AsyncSession,
    tools: Tools,
    id: UUID,
    kinds: Sequence[DocumentKind] | None,
    service: str | None,
    actor: UserInfo,
    skip: int,
    limit: int,
) -> SimilarPage:
    """Raises `NoSuchDocument`, also where `actor` may not read it."""
    teams = rules.teams_of(actor)
    own = await repository.document(session, id, teams)
    if own is None:
        raise NoSuchDocument(f"there is no document {id}")
    asked: list[Filter] = []
    if kinds:
        asked.append(IsIn.model_validate({"facet": "kind", "in": list(kinds)}))
    if service:
        asked.append(IsIn.model_validate({"facet": "service", "in": [service]}))
    gate = Gate(AllOf.model_construct(all=asked) if asked else None, teams)
    found = await alike(session, tools, tools.serving.live, own.version, gate)
    shown = found[skip : skip + limit]
    versions = [each.version for each in shown]
    rows = await repository.described(
        session, versions, [each.start for each in shown], [each.stop for each in shown]
    )
    items = [_item(own, rows[each.version], each) for each in shown if each.version in rows]
    return SimilarPage(items=items, total=len(found))


def _item(own: Row[Any], row: Any, alike: Alike) -> SimilarDocument:
    passage = row["passage"] or row["beginning"][alike.start : alike.stop]
    shared = duplicates.shared_words(f"{own.title}\n{own.body}", f"{row['title']}\n{passage}")
    terms = [term for word in shared for term in analysis.terms_of_word(word)]
    facets = orjson.loads(row["facets"])
    same_service = own.service is not None and own.service == row["service"]
    both_demand = own.kind == row["kind"] == "requirement"
    return SimilarDocument(
        kind=row["kind"],
        entity_id=row["entity_id"],
        revision=row["revision"],
        key=row["key"],
        title=row["title"],
        similarity=alike.similarity,
        shared_words=shared,
        fragments=highlights.fragments(passage, highlights.Look(terms)),
        suspected_duplicate=both_demand and duplicates.is_suspected(alike.similarity, same_service=same_service),
        ended=_ended(row, facets) if row["kind"] in ("anomaly", "incident") else None,
        service=row["service"],
        team=row["team"],
        state=row["state"],
        facets=facets,
        updated_at=row["updated_at"],
        external_id=row["external_id"],
        url=row["url"],
    )


def _ended(row: Any, facets: dict[str, Any]) -> Ended | None:
    """How an anomaly or an incident ended; None while it goes on."""
    if "ended" not in facets:
        return None
    return Ended(state=row["state"], at=facets["ended"], minutes=facets.get("minutes"))
