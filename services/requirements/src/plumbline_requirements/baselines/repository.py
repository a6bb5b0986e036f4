"""The SQL of baselines. One is written by one statement, however many revisions it holds."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Integer, Text, TextClause, Uuid, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.errors import NotFound
from plumbline_requirements.models import Baseline, BaselineItem


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no baseline has the id {id}")


# --- Reading --------------------------------------------------------------------------------------------


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> tuple[Sequence[Baseline], int]:
    """The baselines of a team, or all, the newest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = [] if team is None else [Baseline.team == team]
    total = await session.scalar(select(func.count()).select_from(Baseline).where(*wanted))
    rows = await session.scalars(
        select(Baseline).where(*wanted).order_by(Baseline.id.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def find(session: AsyncSession, id: UUID, *, locked: bool = False) -> Baseline:
    """One baseline; `locked` holds it against others who delete it. Raises `NotFound`."""
    baseline = await session.get(Baseline, id, with_for_update=True if locked else None)
    if baseline is None:
        raise missing(id)
    return baseline


_ITEMS = text(
    "SELECT page.requirement_id, page.revision, said.status, said.document::jsonb ->> 'key' AS key,"
    " said.document::jsonb ->> 'title' AS title"
    " FROM (SELECT requirement_id, revision FROM baseline_items WHERE baseline_id = :id"
    "  ORDER BY requirement_id DESC OFFSET :skip LIMIT :limit) AS page"
    " JOIN requirement_revisions AS said USING (requirement_id, revision) ORDER BY page.requirement_id DESC"
).bindparams(bindparam("id", type_=Uuid))


async def items(session: AsyncSession, id: UUID, skip: int, limit: int) -> Sequence[Any]:
    """What a baseline holds, the newest requirement first."""
    return (await session.execute(_ITEMS, {"id": id, "skip": skip, "limit": limit})).all()


_COMPARED = (
    "WITH compared AS (SELECT requirement_id, before.revision AS before, after.revision AS after,"
    "  CASE WHEN before.revision IS NULL THEN 'added' WHEN after.revision IS NULL THEN 'removed'"
    "   ELSE 'changed' END AS kind"
    "  FROM (SELECT requirement_id, revision FROM baseline_items WHERE baseline_id = :first) AS before"
    "  FULL JOIN (SELECT requirement_id, revision FROM baseline_items WHERE baseline_id = :second) AS after"
    "   USING (requirement_id) WHERE before.revision IS DISTINCT FROM after.revision)"
)
_TOTALS = text(
    f"{_COMPARED} SELECT kind, count(*) FROM compared GROUP BY kind"  # noqa: S608 - own names
).bindparams(bindparam("first", type_=Uuid), bindparam("second", type_=Uuid))
_DIFFERENCES = text(
    f"{_COMPARED}, placed AS"  # noqa: S608 - own names
    "  (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY requirement_id DESC) AS place FROM compared)"
    " SELECT placed.kind, placed.requirement_id, placed.before, placed.after,"
    "  old.document AS old_document, new.document AS new_document FROM placed"
    " LEFT JOIN requirement_revisions AS old ON (old.requirement_id, old.revision) = (placed.requirement_id, before)"
    " LEFT JOIN requirement_revisions AS new ON (new.requirement_id, new.revision) = (placed.requirement_id, after)"
    " WHERE place > :skip AND place <= :last ORDER BY placed.requirement_id DESC"
).bindparams(bindparam("first", type_=Uuid), bindparam("second", type_=Uuid))


async def totals(session: AsyncSession, first: UUID, second: UUID) -> dict[str, int]:
    """How many requirements were added, removed and changed; kinds without any are left out."""
    rows = await session.execute(_TOTALS, {"first": first, "second": second})
    return {row[0]: row[1] for row in rows}


async def differences(session: AsyncSession, first: UUID, second: UUID, skip: int, limit: int) -> Sequence[Any]:
    """A page of each kind, the newest requirement first, with both snapshots as JSON."""
    parameters = {"first": first, "second": second, "skip": skip, "last": skip + limit}
    return (await session.execute(_DIFFERENCES, parameters)).all()


# --- Writing --------------------------------------------------------------------------------------------

# The end of a requirement is a revision too, but says nothing.
_SAID = "requirement_revisions AS said USING (requirement_id, revision) WHERE said.status <> 'deleted'"
_GIVEN = (
    "SELECT requirement_id, revision FROM unnest(:requirements, :revisions) AS given (requirement_id, revision)"  # noqa: S608
    f" JOIN {_SAID}"
)
_MISSING = text(
    "SELECT place - 1 FROM unnest(:requirements, :revisions) WITH ORDINALITY"  # noqa: S608 - own names
    " AS given (requirement_id, revision, place)"
    f" WHERE NOT EXISTS (SELECT 1 FROM (SELECT given.requirement_id, given.revision) AS one JOIN {_SAID})"
    " ORDER BY place LIMIT :limit"
).bindparams(
    bindparam("requirements", type_=ARRAY(Uuid)),
    bindparam("revisions", type_=ARRAY(Integer)),
)
_MATCHING = {
    "service": "service = :service",
    "owner_team": "owner_team = :owner_team",
    "labels": "labels @> :labels",
    "label_name": "labels ? :label_name",
    # While a change is drafted, the state of the revision in force stands in its revision.
    "status": (
        "(status = :status AND coalesce(in_force, revision) = revision OR in_force <> revision AND EXISTS"
        " (SELECT 1 FROM requirement_revisions AS said WHERE said.requirement_id = requirements.id"
        "  AND said.revision = requirements.in_force AND said.status = :status))"
    ),
}
_TYPES: dict[str, Any] = {
    "requirements": ARRAY(Uuid),
    "revisions": ARRAY(Integer),
    "labels": JSONB,
    **dict.fromkeys(("service", "owner_team", "status", "label_name"), Text),
    "id": Uuid,
    **dict.fromkeys(("name", "description", "team", "created_by"), Text),
    "created_at": db.timestamp(),
}


def _written(chosen: str) -> TextClause:
    statement = (
        f"WITH chosen AS MATERIALIZED ({chosen}),"  # noqa: S608 - own names
        " made AS (INSERT INTO baselines (id, name, description, team, size, created_at, created_by)"
        "  SELECT :id, :name, :description, :team, count(*), :created_at, :created_by FROM chosen"
        "  HAVING count(*) BETWEEN :least AND :most ON CONFLICT (name) DO NOTHING RETURNING id),"
        " held AS (INSERT INTO baseline_items (baseline_id, requirement_id, revision)"
        "  SELECT made.id, chosen.requirement_id, chosen.revision FROM made, chosen)"
        " SELECT (SELECT count(*) FROM made) = 1 AS made, (SELECT count(*) FROM chosen) AS size"
    )
    return text(statement).bindparams(
        *(bindparam(name, type_=kind) for name, kind in _TYPES.items() if f":{name}" in statement)
    )


async def add(session: AsyncSession, baseline: Baseline, given: Sequence[tuple[UUID, int]]) -> tuple[bool, int]:
    """Write a baseline of given revisions, and tell how many of them there are.

    Nothing is written where some are missing, or the name is taken.
    """
    chosen = {"requirements": [each[0] for each in given], "revisions": [each[1] for each in given]}
    return await _add(session, baseline, _written(_GIVEN), chosen | {"least": len(given), "most": len(given)})


async def add_selected(
    session: AsyncSession, baseline: Baseline, filters: dict[str, Any], most: int
) -> tuple[bool, int]:
    """Write a baseline of what matches, and tell how many do (`most` + 1 for more).

    Nothing is written where none or too many match, or the name is taken.
    """
    wanted = " AND ".join(_MATCHING[name] for name in filters) or "true"
    chosen = (
        "SELECT id AS requirement_id, coalesce(in_force, revision) AS revision FROM requirements"  # noqa: S608
        f" WHERE {wanted} LIMIT {most + 1}"
    )
    return await _add(session, baseline, _written(chosen), filters | {"least": 1, "most": most})


async def _add(
    session: AsyncSession, baseline: Baseline, statement: TextClause, chosen: dict[str, Any]
) -> tuple[bool, int]:
    names = ("id", "name", "description", "team", "created_at", "created_by")
    values = {name: getattr(baseline, name) for name in names}
    row = (await session.execute(statement, values | chosen)).one()
    return row.made, row.size


async def places_missing(session: AsyncSession, given: Sequence[tuple[UUID, int]], limit: int) -> list[int]:
    """Which of the given revisions there are not: their places, from 0."""
    chosen = {"requirements": [each[0] for each in given], "revisions": [each[1] for each in given]}
    return list(await session.scalars(_MISSING, {**chosen, "limit": limit}))


async def remove(session: AsyncSession, id: UUID) -> None:
    """Delete a baseline and what it holds; the revisions stay."""
    await session.execute(delete(BaselineItem).where(BaselineItem.baseline_id == id))
    await session.execute(delete(Baseline).where(Baseline.id == id))
