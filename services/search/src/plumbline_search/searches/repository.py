"""SQL of a search: the vector leg, what the filters let through, and what a hit shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson
import sqlalchemy as sa
from sqlalchemy import Double, Text, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.documents.repository import readable
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.models import SearchDocument
from plumbline_search.passages.store import Compared
from plumbline_search.postings.repository import Known
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import filters
from plumbline_search.searches.filters import AllOf, AnyOf, Between, Exists, Filter, IsIn, NotThis
from plumbline_search.searches.looking import Look
from plumbline_search.searches.schemas import DocumentKind

EF_SEARCH = 28
"""HNSW's breadth: what a query looks at before it settles, at least as many as it wants (`docs/search.md`)."""
EF_FILTERED = 200
"""The same where a filter leaves out many of them."""
BODY_CHARACTERS = 10_000
"""Fragments are chosen from this much of the beginning, and from the nearest passage."""

# A cosine is the negative inner product of pgvector's operator, all vectors being of length 1. The vector stands in a
# subquery, since a generic plan would cast it for each row.
_DISTANCE = "embedding::halfvec({dimensions}) <#> (SELECT $1::real[]::halfvec({dimensions}))"
_BY_DISTANCE = (
    f"SELECT version, start, stop, {_DISTANCE} AS distance FROM search_passages_{{slot}}"
    " WHERE vector_dims(embedding) = {dimensions} AND {where}"
)
_PREPARED = (
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', $2), set_config('hnsw.ef_search', $1, $2),"
    " set_config('plan_cache_mode', 'force_generic_plan', $2)"
)
_VECTORS = "SELECT embedding::real[] AS vector FROM search_passages_{slot} WHERE version = $1 ORDER BY place LIMIT $2"
_DESCRIBED = (
    "SELECT d.version, kind, entity_id, revision, key, title, service, team, state, facets::text, updated_at,"
    " external_id, url, left(body, $4::int) AS beginning,"
    " CASE WHEN stop > $4::int THEN substr(body, start + 1, stop - start) ELSE '' END AS passage"
    " FROM unnest($1::int[], $2::int[], $3::int[]) WITH ORDINALITY AS given (version, start, stop, place)"
    " JOIN search_documents d ON d.version = given.version WHERE NOT deleted AND {where}"
    " ORDER BY place LIMIT {most}"
)
# Of what this statement sees: a transaction that was not over at the snapshot shows later.
_NONE_CHANGED = (
    "NOT EXISTS (SELECT FROM search_documents WHERE changed >= pg_snapshot_xmin({0}::text::pg_snapshot)"
    " AND NOT pg_visible_in_snapshot(changed, {0}::text::pg_snapshot))"
)
_LEFT = (
    "kept.body, kept.known, kept.snapshot AS as_of, extract(epoch FROM kept.until - now())::float AS seconds"
    " FROM (SELECT) AS one LEFT JOIN search_answers AS kept ON kept.key = $1 AND kept.until > now() AND "
    + _NONE_CHANGED.format("kept.snapshot")
)
_LEAVE = text(
    "INSERT INTO search_answers (key, body, known, snapshot, until)"
    " SELECT key, body, known, snapshot, now() + seconds * interval '1 second'"
    " FROM unnest(:keys, :bodies, :known, :snapshots, :seconds) AS given (key, body, known, snapshot, seconds)"
    " ON CONFLICT (key) DO UPDATE SET body = excluded.body, known = excluded.known, snapshot = excluded.snapshot,"
    " until = excluded.until"
).bindparams(
    bindparam("keys", type_=ARRAY(BYTEA)),
    bindparam("bodies", type_=ARRAY(BYTEA)),
    bindparam("known", type_=ARRAY(BYTEA)),
    bindparam("snapshots", type_=ARRAY(Text)),
    bindparam("seconds", type_=ARRAY(Double)),
)
_FORGET_LEFT = text("DELETE FROM search_answers WHERE until <= now()")

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
Standing = dict[int, tuple[str | None, datetime]]
_VERSIONS = ARRAY(sa.Integer)
_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True)
class Gate:
    """What a hit must be, and the teams whose documents the caller may read beside those of all (None: every one)."""

    condition: Filter | None = None
    teams: Sequence[str] | None = None

    @cached_property
    def key(self) -> tuple[str | None, tuple[str, ...] | None]:
        """Equal for gates that let the same through."""
        condition = None if self.condition is None else self.condition.model_dump_json()
        return condition, None if self.teams is None else tuple(self.teams)


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
        return self.at(np.flatnonzero(~np.isin(self.versions, versions)))

    def at(self, kept: npt.NDArray[np.int64]) -> "Nearest":
        starts, stops = [self.starts[at] for at in kept], [self.stops[at] for at in kept]
        return Nearest(self.versions[kept], self.scores[kept], starts, stops, self.looked_at)


# --- What the filters let through -----------------------------------------------------------------------


def where(gate: Gate, values: list[Any]) -> str:
    """What `gate` asks of a row of documents or of passages, in SQL. What it compares with is added to `values`."""
    condition = "TRUE" if gate.condition is None else _condition(gate.condition, values)
    if gate.teams is None:
        return condition
    return f"{condition} AND (readers IS NULL OR readers && {_put(values, list(gate.teams), 'text[]')})"


def _in_two_parts(asked: str, gate: Gate, values: list[Any]) -> str:
    """`asked` of what everyone may read, and of the rest: each of them an index answers alone where it can."""
    condition = "TRUE" if gate.condition is None else _condition(gate.condition, values)
    shared = "TRUE" if gate.teams is None else f"readers && {_put(values, list(gate.teams), 'text[]')}"
    return (
        f"{asked} AND readers IS NULL AND {condition}"
        f" UNION ALL {asked} AND readers IS NOT NULL AND {shared} AND {condition}"
    )


def _put(values: list[Any], value: Any, type: str) -> str:
    values.append(value)
    return f"${len(values)}::{type}"


def _condition(condition: Filter, values: list[Any]) -> str:
    match condition:
        case AllOf(all=inner):
            return "(" + " AND ".join(_condition(each, values) for each in inner) + ")"
        case AnyOf(any=inner):
            return "(" + " OR ".join(_condition(each, values) for each in inner) + ")"
        case NotThis(inner=one):
            # What is not known is not so: a document without a service is none of the service "checkout".
            return f"NOT coalesce({_condition(one, values)}, FALSE)"
        case _ if condition.facet in filters.COLUMNS:
            return _of_column(condition, values)
        case _:
            return _of_facet(condition, values)


def _of_column(condition: IsIn | Exists | Between, values: list[Any]) -> str:
    column = condition.facet  # one of those that every document has: it is safe in SQL
    is_time = column == "updated_at"
    type = "timestamptz" if is_time else "text"
    match condition:
        case IsIn(values=given):
            of = condition.instants if is_time else [str(value) for value in given]
            return f"{column} = ANY({_put(values, of, f'{type}[]')})"
        case Exists(exists=exists):
            return f"{column} IS NOT NULL" if exists else f"{column} IS NULL"
    compared = [
        f"{column} {_COMPARE[name]} {_put(values, bound if is_time else str(bound), type)}"
        for name, bound in condition.bounds.items()
    ]
    return " AND ".join(compared)


def _of_facet(condition: IsIn | Exists | Between, values: list[Any]) -> str:
    match condition:
        case IsIn(facet=facet, values=given):
            forms = [form for value in given for form in ({facet: value}, {facet: [value]})]
            return "(" + " OR ".join(f"facets @> {_put(values, _json(form), 'jsonb')}" for form in forms) + ")"
        case Exists(facet=facet, exists=exists):
            return f"{'' if exists else 'NOT '}facets ? {_put(values, facet, 'text')}"
    value = f"(facets -> {_put(values, condition.facet, 'text')})"
    compared = [
        f"jsonb_typeof({value}) = '{'string' if isinstance(bound, str) else 'number'}'"
        f" AND {value} {_COMPARE[name]} {_put(values, _json(bound), 'jsonb')}"
        for name, bound in condition.bounds.items()
    ]
    return " AND ".join(compared)


def _json(value: Any) -> str:
    return str(orjson.dumps(value), "utf-8")


async def unknown_facets(session: AsyncSession, names: Sequence[str]) -> list[str]:
    """Those of `names` that no document has."""
    has = [
        select(SearchDocument.id).where(SearchDocument.facets.has_key(name)).limit(1).exists().label(f"has_{number}")
        for number, name in enumerate(names)
    ]
    found = (await session.execute(select(*has))).one()
    return [name for name, there in zip(names, found, strict=True) if not there]


async def _fetched(
    session: AsyncSession, asked: str, values: Sequence[Any], columns: int, look: Look | None
) -> list[Any]:
    """The rows of `asked`, of so many columns. Where `look` is not checked yet the same statement does it.

    Raises `Outdated`.
    """
    if look is None or look.is_checked:
        return await db.fetch(session, asked, *values)
    rows = await db.fetch(
        session,
        f"SELECT found.*, NULL::bytea AS runs, NULL::bytea AS fresh, NULL AS snapshot FROM ({asked}) AS found"
        f" UNION ALL SELECT {'NULL, ' * columns} {look.columns}",
        *values,
    )
    look.check(rows.pop())
    return rows


async def check(session: AsyncSession, look: Look) -> None:
    """Raises `Outdated`."""
    if not look.is_checked:
        [row] = await db.fetch(session, f"SELECT {look.columns}")
        look.check(row)


async def still(session: AsyncSession, look: Look, known: Known, snapshot: str) -> bool:
    """Whether the index has what is `known`, and every document is as it was at `snapshot`. It checks `look`."""
    [row] = await db.fetch(session, f"SELECT {look.columns}, {_NONE_CHANGED.format('$1')} AS none_changed", snapshot)
    look.see(row)
    return bool(row["none_changed"]) and look.known.packed == known.packed


@dataclass(frozen=True)
class Left:
    """An answer that a process left for the others. `known` is a digest of what the index had; `seconds` until it is
    too old."""

    key: bytes
    body: bytes
    known: bytes
    snapshot: str
    seconds: float


async def left(session: AsyncSession, look: Look, key: bytes) -> Left | None:
    """What was left for `key`, if every document is as it was then. It checks `look`."""
    [row] = await db.fetch(session, f"SELECT {look.columns}, {_LEFT}", key)
    look.see(row)
    if row["body"] is None:
        return None
    return Left(key, row["body"], row["known"], row["as_of"], row["seconds"])


async def leave(session: AsyncSession, given: Sequence[Left]) -> None:
    """Leave answers for other processes, and remove those that are too old."""
    await session.execute(_FORGET_LEFT)
    if given:
        # In one order: processes that leave the same ones don't wait for each other in a circle.
        rows = sorted(given, key=lambda each: each.key)
        await session.execute(
            _LEAVE,
            {
                "keys": [each.key for each in rows],
                "bodies": [each.body for each in rows],
                "known": [each.known for each in rows],
                "snapshots": [each.snapshot for each in rows],
                "seconds": [each.seconds for each in rows],
            },
        )


async def probe(session: AsyncSession, gate: Gate, look: Look, most: int | None = None) -> Versions:
    """The versions of what the filters let through, at most `most` of them, in no order; `look` is checked then."""
    values: list[Any] = []
    asked = _in_two_parts("SELECT version FROM search_documents WHERE NOT deleted", gate, values)
    limit = "" if most is None else f" LIMIT {int(most)}"
    besides = "" if look.is_checked else f", {look.columns}"
    [row] = await db.fetch(
        session,
        f"SELECT (SELECT string_agg(int4send(version), '') FROM ({asked}{limit}) AS found) AS versions{besides}",
        *values,
    )
    if besides:
        look.see(row)
    return np.frombuffer(row["versions"] or b"", ">i4").astype(np.int32)


async def standing(session: AsyncSession, versions: Versions, gate: Gate, look: Look | None = None) -> Standing:
    """State and time of the last change, by version, of those that documents have and the filters let through.

    Raises `Outdated` by `look`.
    """
    if not len(versions):
        return {}
    values: list[Any] = [versions.tolist()]
    asked = "SELECT version, state, updated_at FROM search_documents WHERE version = ANY($1::int[]) AND NOT deleted"
    rows = await _fetched(session, _in_two_parts(asked, gate, values), values, 3, look)
    return {row[0]: (row[1], row[2]) for row in rows}


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
    values: list[Any] = []
    asked = f"NOT deleted AND {where(gate, values)}"
    if facet in filters.COLUMNS:
        each = f"SELECT to_jsonb({facet}) AS value FROM search_documents WHERE {asked} AND {facet} IS NOT NULL"
    else:
        name = _put(values, facet, "text")
        held = f"facets -> {name}"
        listed = f"CASE WHEN jsonb_typeof({held}) = 'array' THEN {held} ELSE jsonb_build_array({held}) END"
        each = (
            f"SELECT jsonb_array_elements({listed}) AS value FROM search_documents WHERE {asked} AND facets ? {name}"
        )
    counted = (
        f"SELECT value::text AS shown, count(*) FROM ({each}) AS each GROUP BY value ORDER BY count(*) DESC, value"
    )
    rows = await db.fetch(session, f"{counted} LIMIT {int(most)}", *values)
    return [(orjson.loads(value), number) for value, number in rows]


async def passing_ids(session: AsyncSession, ids: Sequence[int], gate: Gate) -> list[int]:
    """Those of the documents `ids` that the filters let through, in their order."""
    values: list[Any] = [list(ids)]
    asked = f"id = ANY($1::bigint[]) AND NOT deleted AND {where(gate, values)}"
    rows = await db.fetch(session, f"SELECT id FROM search_documents WHERE {asked} ORDER BY id", *values)
    return [row["id"] for row in rows]


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
    values: list[Any] = [vector.tolist()]
    asked = _BY_DISTANCE.format(slot=index.slot, dimensions=index.dimensions, where=where(gate, values))
    # The limit stands in the text: of one that is a parameter the planner knows nothing.
    return of_rows(await db.fetch(session, f"{asked} ORDER BY {_distance(index)} LIMIT {int(most)}", *values))


async def nearest_by_scan(session: AsyncSession, index: Index, vector: Vector, gate: Gate, most: int) -> Nearest:
    """The nearest passages that the filters let through, each compared."""
    values: list[Any] = [vector.tolist()]
    asked = _BY_DISTANCE.format(slot=index.slot, dimensions=index.dimensions, where=where(gate, values))
    # The sum is no expression of the index, so that the index is not asked.
    order = f"({_distance(index)}) + 0, version DESC"
    return of_rows(await db.fetch(session, f"{asked} ORDER BY {order} LIMIT {int(most)}", *values))


def _distance(index: Index) -> str:
    return _DISTANCE.format(dimensions=index.dimensions)


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
    session: AsyncSession,
    versions: Sequence[int],
    starts: Sequence[int],
    stops: Sequence[int],
    gate: Gate | None = None,
    most: int | None = None,
    look: Look | None = None,
) -> dict[int, Any]:
    """What a hit shows, by version: `beginning` of the body, and its `passage`. Deleted ones are missing.

    Of those that `gate` lets through the first `most`. Raises `Outdated` by `look`.
    """
    if not versions:
        return {}
    values: list[Any] = [list(versions), list(starts), list(stops), BODY_CHARACTERS]
    limit = len(versions) if most is None else int(most)
    asked = _DESCRIBED.format(where=where(gate or Gate(), values), most=limit)
    return {row["version"]: row for row in await _fetched(session, asked, values, 15, look)}
