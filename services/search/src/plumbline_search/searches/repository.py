"""SQL of a search: the vector leg, what the filters let through, and what a hit shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import bindparam, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.documents.repository import readable
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.models import PASSAGES, FirstPassage, SearchDocument, SecondPassage
from plumbline_search.passages.store import Compared
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import filters
from plumbline_search.searches.filters import AllOf, AnyOf, Between, Exists, Filter, IsIn, NotThis
from plumbline_search.searches.schemas import DocumentKind

EF_SEARCH = 28
"""HNSW's breadth: what a query looks at before it settles, at least as many as it wants (`docs/search.md`)."""
EF_FILTERED = 200
"""The same where a filter leaves out many of them."""
BODY_CHARACTERS = 10_000
"""Fragments are chosen from this much of the beginning, and from the nearest passage."""

# A cosine is the negative inner product of pgvector's operator, all vectors being of length 1. The vector stands in a
# subquery, since a generic plan would cast it for each row.
_BY_INDEX = (
    "SELECT version, start, stop,"
    " embedding::halfvec({dimensions}) <#> (SELECT $1::real[]::halfvec({dimensions})) AS distance"
    " FROM search_passages_{slot} WHERE vector_dims(embedding) = {dimensions}{readable}"
    " ORDER BY embedding::halfvec({dimensions}) <#> (SELECT $1::real[]::halfvec({dimensions}))"
)
_READABLE = " AND (readers IS NULL OR readers && $2::text[])"
_PREPARED = (
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', $2), set_config('hnsw.ef_search', $1, $2),"
    " set_config('plan_cache_mode', 'force_generic_plan', $2)"
)
_VECTORS = "SELECT embedding::real[] AS vector FROM search_passages_{slot} WHERE version = $1 ORDER BY place LIMIT $2"
# In two parts, each of which an index answers alone: what everyone may read, and what some teams may.
_STANDING = (
    "SELECT version, state, updated_at FROM search_documents"
    " WHERE version = ANY($1::int[]) AND NOT deleted AND readers IS NULL"
    " UNION ALL SELECT version, state, updated_at FROM search_documents"
    " WHERE version = ANY($1::int[]) AND NOT deleted AND readers IS NOT NULL{shared}"
)
_DESCRIBED = (
    "SELECT d.version, kind, entity_id, revision, key, title, service, team, state, facets::text, updated_at,"
    " external_id, url, left(body, $4::int) AS beginning,"
    " CASE WHEN stop > $4::int THEN substr(body, start + 1, stop - start) ELSE '' END AS passage"
    " FROM unnest($1::int[], $2::int[], $3::int[]) AS given (version, start, stop)"
    " JOIN search_documents d ON d.version = given.version WHERE NOT deleted"
)

_WHOLE: tuple[Any, ...] = (
    SearchDocument.id,
    SearchDocument.version,
    SearchDocument.kind,
    SearchDocument.entity_id,
    SearchDocument.key,
    SearchDocument.title,
    SearchDocument.body,
    SearchDocument.service,
)
Ints = npt.NDArray[np.int32]
Standing = dict[int, tuple[str | None, datetime]]
Table = type[SearchDocument] | type[FirstPassage] | type[SecondPassage]
_VERSIONS = ARRAY(sa.Integer)
_COMPARE = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}


@dataclass(frozen=True)
class Gate:
    """What a hit must be, and the teams whose documents the caller may read beside those of all (None: every one)."""

    condition: Filter | None = None
    teams: Sequence[str] | None = None


@dataclass(frozen=True)
class Nearest:
    """Documents by the cosine of their nearest passage, the nearest first, and where that passage is."""

    versions: Versions
    scores: npt.NDArray[np.float32]
    starts: list[int]
    stops: list[int]
    looked_at: int
    """Passages: fewer than were asked for where there are no more."""

    @classmethod
    def of(cls, passages: Compared, looked_at: int) -> "Nearest":
        """Of passages, the nearest first."""
        _, first = np.unique(passages.versions, return_index=True)
        first.sort()
        starts, stops = passages.starts[first].tolist(), passages.stops[first].tolist()
        return cls(passages.versions[first], passages.cosines[first], starts, stops, looked_at)

    def without(self, versions: Versions) -> "Nearest":
        kept = np.flatnonzero(~np.isin(self.versions, versions))
        starts, stops = [self.starts[at] for at in kept], [self.stops[at] for at in kept]
        return Nearest(self.versions[kept], self.scores[kept], starts, stops, self.looked_at)


# --- What the filters let through -----------------------------------------------------------------------


def conditions(table: Table, gate: Gate) -> list[sa.ColumnElement[bool]]:
    """What `gate` asks of the rows of `table`."""
    asked = [] if gate.condition is None else [_condition(table, gate.condition)]
    return asked + readable(table, gate.teams)


def _condition(table: Table, condition: Filter) -> Any:
    match condition:
        case AllOf(all=inner):
            return sa.and_(*(_condition(table, each) for each in inner))
        case AnyOf(any=inner):
            return sa.or_(*(_condition(table, each) for each in inner))
        case NotThis(inner=one):
            # What is not known is not so: a document without a service is none of the service "checkout".
            return sa.not_(func.coalesce(_condition(table, one), sa.false()))
        case _ if condition.facet in filters.COLUMNS:
            return _of_column(getattr(table, condition.facet), condition)
        case _:
            return _of_facet(table.facets, condition)


def _of_column(column: Any, condition: IsIn | Exists | Between) -> Any:
    match condition:
        case IsIn(values=values):
            return column.in_([str(value) for value in values])
        case Exists(exists=exists):
            return column.is_not(None) if exists else column.is_(None)
    text_like = not isinstance(column.type, sa.DateTime)
    return sa.and_(
        *(
            getattr(column, _COMPARE[name])(str(bound) if text_like else bound)
            for name, bound in condition.bounds.items()
        )
    )


def _of_facet(facets: Any, condition: IsIn | Exists | Between) -> Any:
    match condition:
        case IsIn(facet=facet, values=values):
            each = [facets.contains(value) for one in values for value in ({facet: one}, {facet: [one]})]
            return sa.or_(*each)
        case Exists(facet=facet, exists=exists):
            return facets.has_key(facet) if exists else sa.not_(facets.has_key(facet))
    value = facets[condition.facet]
    compared = []
    for name, bound in condition.bounds.items():
        compared += [
            func.jsonb_typeof(value) == ("string" if isinstance(bound, str) else "number"),
            getattr(value, _COMPARE[name])(cast(literal(bound, JSONB), JSONB)),
        ]
    return sa.and_(*compared)


async def unknown_facets(session: AsyncSession, names: Sequence[str]) -> list[str]:
    """Those of `names` that no document has."""
    has = [
        select(SearchDocument.id).where(SearchDocument.facets.has_key(name)).limit(1).exists().label(f"has_{number}")
        for number, name in enumerate(names)
    ]
    found = (await session.execute(select(*has))).one()
    return [name for name, there in zip(names, found, strict=True) if not there]


async def probe(session: AsyncSession, gate: Gate, most: int | None = None) -> Versions:
    """The versions of what the filters let through, at most `most` of them, in no order."""
    # In two parts, each of which an index answers alone where it can.
    readers = SearchDocument.readers
    parts = [
        (readers.is_(None), *conditions(SearchDocument, replace(gate, teams=None))),
        (readers.is_not(None), *conditions(SearchDocument, gate)),
    ]
    some = (
        sa.union_all(*(select(SearchDocument.version).where(~SearchDocument.deleted, *part) for part in parts))
        .limit(most)
        .subquery()
    )
    packed = await session.execute(select(func.string_agg(func.int4send(some.c.version), sa.text("''::bytea"))))
    return np.frombuffer(packed.scalar_one() or b"", ">i4").astype(np.int32)


async def standing(session: AsyncSession, versions: Versions, gate: Gate) -> Standing:
    """State and time of the last change, by version, of those that documents have and the filters let through."""
    if gate.condition is None:
        values: list[Any] = [versions.tolist()]
        if gate.teams is not None:
            values.append(list(gate.teams))
        shared = "" if gate.teams is None else " AND readers && $2::text[]"
        rows: Sequence[Any] = await db.fetch(session, _STANDING.format(shared=shared), *values)
    else:
        table = SearchDocument.__table__.c
        found = await session.execute(
            select(table.version, table.state, table.updated_at).where(
                table.version == func.any(cast(versions.tolist(), _VERSIONS)),
                ~table.deleted,
                *conditions(SearchDocument, gate),
            )
        )
        rows = found.all()
    return {version: (state, updated_at) for version, state, updated_at in rows}


async def passing(session: AsyncSession, versions: Versions, gate: Gate) -> Versions:
    """Those of `versions` that documents have and the filters let through, in no order."""
    return versions_of(await standing(session, versions, gate))


def versions_of(standing: Standing) -> Versions:
    return np.fromiter(standing, np.int32, len(standing))


async def with_phrase(session: AsyncSession, versions: Versions, pattern: str) -> Versions:
    """Those of `versions` whose title or body matches the regular expression, in no order."""
    text = SearchDocument.title + "\n" + SearchDocument.body
    rows = await session.execute(
        select(SearchDocument.version).where(
            SearchDocument.version == func.any(cast(versions.tolist(), _VERSIONS)),
            ~SearchDocument.deleted,
            text.regexp_match(pattern, "i"),
        )
    )
    return np.array(rows.scalars().all(), np.int32)


async def facet_counts(session: AsyncSession, gate: Gate, facet: str, most: int) -> list[tuple[Any, int]]:
    """The most frequent values of `facet` among what the filters let through; each value of a list counts."""
    where = (~SearchDocument.deleted, *conditions(SearchDocument, gate))
    if facet in filters.COLUMNS:
        value: Any = func.to_jsonb(getattr(SearchDocument, facet))
        source = select(value.label("value")).where(*where, getattr(SearchDocument, facet).is_not(None)).subquery()
    else:
        held = SearchDocument.facets[facet]
        listed = sa.case((func.jsonb_typeof(held) == "array", held), else_=func.jsonb_build_array(held))
        source = (
            select(func.jsonb_array_elements(listed).label("value"))
            .where(*where, SearchDocument.facets.has_key(facet))
            .subquery()
        )
    counted = func.count().label("counted")
    rows = await session.execute(
        select(source.c.value, counted).group_by(source.c.value).order_by(counted.desc(), source.c.value).limit(most)
    )
    return [(value, number) for value, number in rows]


async def passing_ids(session: AsyncSession, ids: Sequence[int], gate: Gate) -> list[int]:
    """Those of the documents `ids` that the filters let through, in their order."""
    rows = await session.execute(
        select(SearchDocument.id)
        .where(SearchDocument.id.in_(ids), ~SearchDocument.deleted, *conditions(SearchDocument, gate))
        .order_by(SearchDocument.id)
    )
    return list(rows.scalars())


async def document(session: AsyncSession, id: UUID, teams: Sequence[str] | None) -> sa.Row[Any] | None:
    """The document of the entity `id`, of whatever kind, where a caller of `teams` may read it."""
    kinds = [SearchDocument.kind == kind.value for kind in DocumentKind]
    rows = await session.execute(
        select(*_WHOLE)
        .where(sa.or_(*kinds), SearchDocument.entity_id == id, ~SearchDocument.deleted)
        .where(*readable(SearchDocument, teams))
        .limit(1)
    )
    return rows.first()


async def whole(session: AsyncSession, versions: Sequence[int]) -> Sequence[sa.Row[Any]]:
    """The documents of `versions`, in no order."""
    if not versions:
        return []
    given = func.any(cast(list(versions), _VERSIONS))
    return (
        await session.execute(select(*_WHOLE).where(SearchDocument.version == given, ~SearchDocument.deleted))
    ).all()


# --- The vector leg -------------------------------------------------------------------------------------


def _distance(index: Index, vector: Vector) -> Any:
    of_size = HALFVEC(index.dimensions)
    asked = select(cast(bindparam(None, vector.tolist(), ARRAY(REAL)), of_size)).scalar_subquery()
    return cast(PASSAGES[index.slot].embedding, of_size).op("<#>", return_type=sa.Float)(asked)


def _by_distance(index: Index, distance: Any, gate: Gate) -> Any:
    """As the index on vectors of this size is asked."""
    table = PASSAGES[index.slot]
    asked = select(table.version, table.start, table.stop, distance.label("distance"))
    size: sa.ColumnClause[int] = sa.literal_column(str(index.dimensions))
    return asked.where(func.vector_dims(table.embedding) == size, *conditions(table, gate))


def _is_in_autocommit(connection: sa.Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


async def prepare(session: AsyncSession, most: int, *, filtered: bool) -> None:
    """Let the index go on until a filter has let enough passages through.

    In autocommit it holds for the connection, which knows; else for the transaction.
    """
    breadth = str(min(1000, max(EF_FILTERED if filtered else EF_SEARCH, most)))
    connection = await session.connection()
    # A transaction that is rolled back would take it back.
    lasting = await connection.run_sync(_is_in_autocommit)
    if not lasting or connection.info.get("hnsw") != breadth:
        await db.fetch(session, _PREPARED, breadth, not lasting)
        if lasting:
            connection.info["hnsw"] = breadth


async def nearest(session: AsyncSession, index: Index, vector: Vector, gate: Gate, most: int) -> Nearest:
    """By the index: the nearest passages that the filters let through; some may be missed. `prepare` comes before."""
    if gate.condition is None:
        values: list[Any] = [vector.tolist()]
        if gate.teams is not None:
            values.append(list(gate.teams))
        readable = "" if gate.teams is None else _READABLE
        asked = _BY_INDEX.format(slot=index.slot, dimensions=index.dimensions, readable=readable)
        # The limit stands in the text: of one that is a parameter the planner knows nothing.
        return of_rows(await db.fetch(session, f"{asked} LIMIT {int(most)}", *values))
    distance = _distance(index, vector)
    filtered = _by_distance(index, distance, gate).order_by(distance).limit(most)
    return of_rows((await session.execute(filtered)).all())


async def nearest_by_scan(session: AsyncSession, index: Index, vector: Vector, gate: Gate, most: int) -> Nearest:
    """The nearest passages that the filters let through, each compared."""
    # The sum is no expression of the index, so that the index is not asked.
    distance = _distance(index, vector) + 0
    asked = _by_distance(index, distance, gate).order_by(distance, PASSAGES[index.slot].version.desc()).limit(most)
    return of_rows((await session.execute(asked)).all())


def of_rows(rows: Sequence[Any]) -> Nearest:
    """Of rows of version, start, stop and distance."""
    found = sorted(rows, key=lambda row: (row[3], -row[0]))
    best = {row[0]: row for row in reversed(found)}
    first = [best[version] for version in dict.fromkeys(row[0] for row in found)]
    return Nearest(
        np.array([row[0] for row in first], np.int32),
        np.array([-row[3] for row in first], np.float32),
        [row[1] for row in first],
        [row[2] for row in first],
        len(found),
    )


async def vectors_of(session: AsyncSession, index: Index, version: int, most: int) -> list[Vector]:
    """The vectors of the first passages of the document of `version`."""
    rows = await db.fetch(session, _VECTORS.format(slot=index.slot), version, most)
    return [np.array(row["vector"], np.float32) for row in rows]


# --- What a hit shows -----------------------------------------------------------------------------------


async def described(
    session: AsyncSession, versions: Sequence[int], starts: Sequence[int], stops: Sequence[int]
) -> dict[int, Any]:
    """What a hit shows, by version: `beginning` of the body, and its `passage`. Deleted ones are missing."""
    if not versions:
        return {}
    rows = await db.fetch(session, _DESCRIBED, list(versions), list(starts), list(stops), BODY_CHARACTERS)
    return {row["version"]: row for row in rows}
