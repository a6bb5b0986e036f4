"""SQL of a search: the vector leg, what the filters let through, and what a hit shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import bindparam, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.documents.repository import readable
from plumbline_search.embedding.embedder import Vector
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS, MODEL
from plumbline_search.models import SearchDocument, SearchPassage
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import filters
from plumbline_search.searches.filters import AllOf, AnyOf, Between, Exists, Filter, IsIn, NotThis

EF_SEARCH = 60
"""HNSW's breadth: what a query looks at before it settles; at least as many as it wants."""
BODY_CHARACTERS = 10_000
"""Fragments are chosen from this much of the beginning, and from the nearest passage."""

Table = type[SearchDocument] | type[SearchPassage]
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
    scores: Vectors
    starts: list[int]
    stops: list[int]
    looked_at: int
    """Passages: fewer than were asked for where there are no more."""


@dataclass(frozen=True)
class Passages:
    """Of each candidate the passage that is nearest to the query, in any order."""

    versions: Versions
    scores: Vectors
    starts: list[int]
    stops: list[int]
    states: list[str | None]
    updated_at: list[datetime]
    vectors: Vectors


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


async def probe(session: AsyncSession, gate: Gate, most: int) -> Versions:
    """The versions of what the filters let through, at most `most` of them, in no order."""
    some = (
        select(SearchDocument.version)
        .where(~SearchDocument.deleted, *conditions(SearchDocument, gate))
        .limit(most)
        .subquery()
    )
    packed = await session.execute(select(func.string_agg(func.int4send(some.c.version), sa.text("''::bytea"))))
    return np.frombuffer(packed.scalar_one() or b"", ">i4").astype(np.int32)


async def count(session: AsyncSession, gate: Gate, most: int) -> int:
    """How many documents the filters let through, counted up to `most`."""
    some = (
        select(sa.literal(1))
        .select_from(SearchDocument)
        .where(~SearchDocument.deleted, *conditions(SearchDocument, gate))
        .limit(most)
        .subquery()
    )
    return int((await session.execute(select(func.count()).select_from(some))).scalar_one())


async def passing(session: AsyncSession, versions: Versions, gate: Gate) -> Versions:
    """Those of `versions` that documents have and the filters let through, in no order."""
    rows = await session.execute(
        select(SearchDocument.version).where(
            SearchDocument.version == func.any(cast(versions.tolist(), _VERSIONS)),
            ~SearchDocument.deleted,
            *conditions(SearchDocument, gate),
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


# --- The vector leg -------------------------------------------------------------------------------------


def _distance(vector: Vector) -> Any:
    asked = cast(bindparam(None, vector.tolist(), ARRAY(REAL)), SearchPassage.embedding.type)
    return SearchPassage.embedding.op("<#>", return_type=sa.Float)(asked)


async def prepare(session: AsyncSession, most: int) -> None:
    """Let the index go on until a filter has let enough passages through. Holds for the connection."""
    await session.execute(
        text(
            "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', false),"
            " set_config('hnsw.ef_search', :breadth, false)"
        ),
        {"breadth": str(min(1000, max(EF_SEARCH, most)))},
    )


async def nearest(session: AsyncSession, vector: Vector, gate: Gate, most: int) -> Nearest:
    """By the index: the nearest passages that the filters let through; some may be missed. `prepare` comes before."""
    distance = _distance(vector).label("distance")
    return _nearest(
        await session.execute(
            select(SearchPassage.version, SearchPassage.start, SearchPassage.stop, distance)
            .where(SearchPassage.model == MODEL, *conditions(SearchPassage, gate))
            .order_by(distance)
            .limit(most)
        )
    )


async def nearest_by_scan(session: AsyncSession, vector: Vector, gate: Gate, most: int) -> Nearest:
    """The nearest passages that the filters let through, each compared."""
    return await _scanned(session, vector, most, conditions(SearchPassage, gate))


async def nearest_of(session: AsyncSession, vector: Vector, versions: Versions, most: int) -> Nearest:
    """The nearest passages of the documents `versions`, each compared."""
    within = SearchPassage.version == func.any(cast(versions.tolist(), _VERSIONS))
    return await _scanned(session, vector, most, [within])


async def _scanned(
    session: AsyncSession, vector: Vector, most: int, where: Sequence[sa.ColumnElement[bool]]
) -> Nearest:
    # The sum is no expression of the index, so that the index is not asked.
    distance = (_distance(vector) + 0).label("distance")
    return _nearest(
        await session.execute(
            select(SearchPassage.version, SearchPassage.start, SearchPassage.stop, distance)
            .where(SearchPassage.model == MODEL, *where)
            .order_by(distance, SearchPassage.version.desc())
            .limit(most)
        )
    )


def _nearest(rows: sa.Result[Any]) -> Nearest:
    found = sorted(rows.all(), key=lambda row: (row.distance, -row.version))
    best = {row.version: row for row in reversed(found)}
    first = [row for row in found if best[row.version] is row]
    return Nearest(
        np.array([row.version for row in first], np.int32),
        np.array([-row.distance for row in first], np.float32),
        [row.start for row in first],
        [row.stop for row in first],
        len(found),
    )


async def passages(session: AsyncSession, vector: Vector, versions: Versions) -> Passages:
    """Of each of `versions` the passage that is nearest to `vector`. Deleted ones are missing."""
    distance = _distance(vector).label("distance")
    best = (
        select(
            SearchPassage.version,
            distance,
            SearchPassage.start,
            SearchPassage.stop,
            SearchPassage.state,
            SearchPassage.updated_at,
            sa.cast(func.halfvec_send(SearchPassage.embedding), sa.LargeBinary).label("packed"),
        )
        .where(SearchPassage.version == func.any(cast(versions.tolist(), _VERSIONS)), SearchPassage.model == MODEL)
        .ext(distinct_on(SearchPassage.version))
        .order_by(SearchPassage.version, distance)
    )
    rows = (await session.execute(best)).all()
    vectors = np.empty((len(rows), DIMENSIONS), np.float32)
    for vector_of, row in zip(vectors, rows, strict=True):
        # Two bytes of dimensions, two that are not used, then big-endian halves.
        vector_of[:] = np.frombuffer(row.packed, ">f2", DIMENSIONS, offset=4)
    return Passages(
        np.array([row.version for row in rows], np.int32),
        np.array([-row.distance for row in rows], np.float32),
        [row.start for row in rows],
        [row.stop for row in rows],
        [row.state for row in rows],
        [row.updated_at for row in rows],
        vectors,
    )


# --- What a hit shows -----------------------------------------------------------------------------------


async def described(
    session: AsyncSession, versions: Sequence[int], starts: Sequence[int], stops: Sequence[int]
) -> dict[int, sa.Row[Any]]:
    """What a hit shows, by version: `beginning` of the body, and its `passage`. Deleted ones are missing."""
    if not versions:
        return {}
    given = (
        func.unnest(cast(list(versions), _VERSIONS), cast(list(starts), _VERSIONS), cast(list(stops), _VERSIONS))
        .table_valued("version", "start", "stop")
        .render_derived("given")
    )
    rows = await session.execute(
        select(
            SearchDocument.version,
            SearchDocument.kind,
            SearchDocument.entity_id,
            SearchDocument.revision,
            SearchDocument.key,
            SearchDocument.title,
            SearchDocument.service,
            SearchDocument.team,
            SearchDocument.state,
            SearchDocument.facets,
            SearchDocument.updated_at,
            SearchDocument.external_id,
            SearchDocument.url,
            func.left(SearchDocument.body, BODY_CHARACTERS).label("beginning"),
            sa.case(
                (
                    given.c.stop > BODY_CHARACTERS,
                    func.substr(SearchDocument.body, given.c.start + 1, given.c.stop - given.c.start),
                ),
                else_="",
            ).label("passage"),
        )
        .join_from(given, SearchDocument, SearchDocument.version == given.c.version)
        .where(~SearchDocument.deleted)
    )
    return {row.version: row for row in rows}
