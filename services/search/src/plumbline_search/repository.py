"""SQL on the documents: the write that keeps the newest revision, and the two legs of a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Text, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, TSQUERY
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.documents import Document
from plumbline_search.embeddings import Vector
from plumbline_search.model_store import MODEL
from plumbline_search.models import SearchDocument
from plumbline_search.rules import START, STOP, Scored

EF_SEARCH = 100
"""HNSW's breadth: what a query looks at before it settles, at least the leg's length."""
SNIPPET_CHARACTERS = 10_000
"""A snippet is cut from this much of the beginning: marking matches costs as much as indexing the text."""
SHORT = 240
"""A body of no more characters is shown whole."""

_MARKS = f"StartSel={START}, StopSel={STOP}"
_FRAGMENTS = f'{_MARKS}, MaxFragments=2, MaxWords=24, MinWords=8, FragmentDelimiter=" … "'


@dataclass(frozen=True)
class Filters:
    """Facets that a hit must have; None asks for nothing."""

    kinds: Sequence[str] | None = None
    service: str | None = None
    team: str | None = None


# One round trip decides and writes. Of one revision the later change wins, and its deletion over every change;
# after a deletion only a higher revision comes back. Equal ones change nothing, so a double has no effect.
# Vectors travel as float4[], which asyncpg sends in binary; PostgreSQL makes a halfvec of it.
_PUT = text(
    "INSERT INTO search_documents AS d (kind, entity_id, revision, deleted, key, title, body, service, team, state,"
    " facets, updated_at, model, embedding)"
    " VALUES (:kind, :entity_id, :revision, :deleted, :key, :title, :body, :service, :team, :state,"
    " :facets, :updated_at, :model, CAST(:embedding AS halfvec))"
    " ON CONFLICT (kind, entity_id) DO UPDATE SET revision = excluded.revision, deleted = excluded.deleted,"
    " key = excluded.key, title = excluded.title, body = excluded.body, service = excluded.service,"
    " team = excluded.team, state = excluded.state, facets = excluded.facets, updated_at = excluded.updated_at,"
    " model = excluded.model, embedding = excluded.embedding"
    " WHERE d.revision < excluded.revision OR (d.revision = excluded.revision AND NOT d.deleted"
    "  AND (excluded.deleted OR d.updated_at < excluded.updated_at))"
    " RETURNING id"
).bindparams(
    bindparam("kind", type_=Text),
    bindparam("entity_id", type_=sa.Uuid),
    bindparam("revision", type_=sa.BigInteger),
    bindparam("deleted", type_=sa.Boolean),
    *(bindparam(name, type_=Text) for name in ("key", "title", "body", "service", "team", "state", "model")),
    bindparam("facets", type_=JSONB),
    bindparam("updated_at", type_=db.timestamp()),
    bindparam("embedding", type_=ARRAY(REAL)),
)


async def put(session: AsyncSession, document: Document, vector: Vector) -> bool:
    """Store `document` unless a revision as new is there. Returns whether it was stored."""
    return await _put(
        session,
        kind=document.kind,
        entity_id=document.entity_id,
        revision=document.revision,
        deleted=False,
        key=document.key,
        title=document.title,
        body=document.body,
        service=document.service,
        team=document.team,
        state=document.state,
        facets=document.facets,
        updated_at=document.updated_at,
        model=MODEL,
        embedding=vector.tolist(),
    )


async def bury(session: AsyncSession, kind: str, entity_id: UUID, revision: int, at: datetime) -> bool:
    """Remove the content for good and remember which revision was deleted. Returns whether anything changed."""
    nothing = dict.fromkeys(("key", "service", "team", "state", "model", "embedding"))
    return await _put(
        session,
        kind=kind,
        entity_id=entity_id,
        revision=revision,
        deleted=True,
        title="",
        body="",
        facets={},
        updated_at=at,
        **nothing,
    )


async def _put(session: AsyncSession, **values: Any) -> bool:
    return (await session.execute(_PUT, values)).first() is not None


async def name_of_requirement(session: AsyncSession, id: UUID) -> str | None:
    """Its key and title, such as "REQ-42 Checkout answers fast"; None while it is not indexed."""
    found = await session.execute(
        select(func.concat_ws(" ", SearchDocument.key, SearchDocument.title)).where(
            SearchDocument.kind == "requirement", SearchDocument.entity_id == id, ~SearchDocument.deleted
        )
    )
    return found.scalar_one_or_none()


def _any_word(query: str) -> Any:
    """A tsquery that any word of `query` satisfies; NULL where it has only stop words.

    It is put together of lexemes, each quoted, so that no character of the query is syntax. AND semantics ruin
    the recall of a question in plain words.
    """
    lexemes = func.unnest(func.to_tsvector(sa.literal_column("'english'"), query)).table_valued(
        "lexeme", "positions", "weights"
    )
    escaped = func.replace(func.replace(lexemes.c.lexeme, "\\", "\\\\"), "'", "''")
    return select(cast(func.string_agg(func.concat("'", escaped, "'"), " | "), TSQUERY)).scalar_subquery()


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if filters.kinds is not None:
        conditions.append(SearchDocument.kind.in_(filters.kinds))
    if filters.service is not None:
        conditions.append(SearchDocument.service == filters.service)
    if filters.team is not None:
        conditions.append(SearchDocument.team == filters.team)
    return conditions


async def by_words(session: AsyncSession, query: str, filters: Filters, limit: int) -> list[Scored]:
    """The lexical leg: documents with any word of the query, by ts_rank_cd, the best first."""
    asked = _any_word(query)
    score = func.ts_rank_cd(SearchDocument.words, asked).label("score")
    rows = await session.execute(
        select(SearchDocument.id, score)
        .where(SearchDocument.words.op("@@")(asked), *_conditions(filters))
        .order_by(score.desc(), SearchDocument.id.desc())
        .limit(limit)
    )
    return [Scored(id, rank) for id, rank in rows]


async def prepare_by_meaning(session: AsyncSession) -> None:
    """Let the index go on until a filter has let enough documents through. Holds for the connection."""
    await session.execute(
        text(
            "SELECT set_config('hnsw.iterative_scan', 'strict_order', false),"
            " set_config('hnsw.ef_search', :breadth, false)"
        ),
        {"breadth": str(EF_SEARCH)},
    )


async def by_meaning(session: AsyncSession, vector: Vector, filters: Filters, limit: int) -> list[Scored]:
    """The vector leg: the nearest documents by cosine, the nearest first. `prepare_by_meaning` comes before."""
    asked = cast(bindparam("vector", vector.tolist(), ARRAY(REAL)), SearchDocument.embedding.type)
    distance = SearchDocument.embedding.op("<#>", return_type=sa.Float)(asked).label("distance")
    rows = await session.execute(
        select(SearchDocument.id, distance)
        .where(SearchDocument.embedding.is_not(None), SearchDocument.model == MODEL, *_conditions(filters))
        .order_by(distance)
        .limit(limit)
    )
    return [Scored(id, -apart) for id, apart in rows]


async def described(session: AsyncSession, ids: Sequence[int], query: str) -> dict[int, sa.Row[*tuple[Any, ...]]]:
    """What a hit shows, by id; `snippet` is text with `START` and `STOP` around matches. Deleted ones are missing."""
    if not ids:
        return {}
    beginning = func.left(SearchDocument.body, SNIPPET_CHARACTERS)
    style = sa.case((func.length(beginning) <= SHORT, f"{_MARKS}, HighlightAll=true"), else_=_FRAGMENTS)
    headline = func.ts_headline(sa.literal_column("'english'"), beginning, _any_word(query), style)
    rows = await session.execute(
        select(
            SearchDocument.id,
            SearchDocument.kind,
            SearchDocument.entity_id,
            SearchDocument.revision,
            SearchDocument.key,
            SearchDocument.title,
            SearchDocument.service,
            SearchDocument.team,
            SearchDocument.state,
            SearchDocument.updated_at,
            func.coalesce(headline, func.left(beginning, SHORT)).label("snippet"),
        ).where(SearchDocument.id == func.any(cast(list(ids), ARRAY(sa.BigInteger))), ~SearchDocument.deleted)
    )
    return {row.id: row for row in rows}
