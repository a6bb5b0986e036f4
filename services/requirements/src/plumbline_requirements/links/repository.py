"""The SQL of links."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Text, Uuid, bindparam, func, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from plumbline_common.errors import NotFound
from plumbline_requirements.links.rules import ACYCLIC, Filters, LinkExists, LinkType
from plumbline_requirements.models import Link, Requirement

MOST_CELLS = 200

_Source, _Target = aliased(Requirement, name="source"), aliased(Requirement, name="target")
_END = ("id", "number", "title", "status", "revision", "owner_team", "service")


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no link has the id {id}")


def _ends(of: Any, prefix: str) -> list[Any]:
    return [getattr(of, name).label(f"{prefix}_{name}") for name in _END]


_SHOWN = (
    select(Link, *_ends(_Source, "from"), *_ends(_Target, "to"))
    .outerjoin(_Source, _Source.id == Link.source_id)
    .outerjoin(_Target, _Target.id == Link.target_id)
)


async def page(session: AsyncSession, asked: Filters, skip: int, limit: int) -> tuple[Sequence[Row[Any]], int]:
    """Links that match with their ends, the newest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = []
    if asked.source_id is not None:
        wanted.append(Link.source_id == asked.source_id)
    if asked.target_id is not None:
        wanted.append(Link.target_id == asked.target_id)
    if asked.requirement_id is not None:
        wanted.append(or_(Link.source_id == asked.requirement_id, Link.target_id == asked.requirement_id))
    if asked.types:
        wanted.append(Link.type.in_([each.value for each in asked.types]))
    if asked.suspect is not None:
        wanted.append(Link.suspect_since.is_not(None) if asked.suspect else Link.suspect_since.is_(None))
    total = await session.scalar(select(func.count()).select_from(Link).where(*wanted))
    rows = await session.execute(_SHOWN.where(*wanted).order_by(Link.id.desc()).offset(skip).limit(limit))
    return rows.all(), total or 0


async def shown(session: AsyncSession, id: UUID) -> Row[Any]:
    """One link with its ends. Raises `NotFound`."""
    row = (await session.execute(_SHOWN.where(Link.id == id))).one_or_none()
    if row is None:
        raise missing(id)
    return row


async def ends(session: AsyncSession, id: UUID) -> tuple[UUID, UUID]:
    """Source and target of a link, which never change. Raises `NotFound`."""
    row = (await session.execute(select(Link.source_id, Link.target_id).where(Link.id == id))).one_or_none()
    if row is None:
        raise missing(id)
    return row.source_id, row.target_id


async def locked(session: AsyncSession, id: UUID) -> Link:
    """One link, held against other writers. Raises `NotFound`."""
    link = await session.get(Link, id, with_for_update=True)
    if link is None:
        raise missing(id)
    return link


async def held(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Requirement]:
    """Requirements that cannot change until the transaction ends, taken in the order of ids."""
    rows = await session.scalars(
        select(Requirement).where(Requirement.id.in_(ids)).order_by(Requirement.id).with_for_update(read=True)
    )
    return {row.id: row for row in rows}


_IN_TURN = text("SELECT pg_advisory_xact_lock(hashtext('acyclic links of ' || current_user))")


async def leads_to(session: AsyncSession, start: UUID, end: UUID) -> bool:
    """Whether acyclic links lead from `start` to `end`. Until the transaction ends nobody else asks."""
    await session.execute(_IN_TURN)
    found = await session.execute(_LEADS, {"start": start, "end": end, "types": [each.value for each in ACYCLIC]})
    return bool(found.scalar_one())


_LEADS = text(
    "WITH RECURSIVE reached (id) AS (SELECT CAST(:start AS uuid) UNION"
    "  SELECT target_id FROM links JOIN reached ON source_id = reached.id WHERE type = ANY(:types))"
    " SELECT EXISTS (SELECT FROM reached WHERE id = :end)"
).bindparams(bindparam("start", type_=Uuid), bindparam("end", type_=Uuid), bindparam("types", type_=ARRAY(Text)))


async def save(session: AsyncSession, link: Link) -> None:
    """Write a new link, or what was changed in one. Raises `LinkExists`."""
    session.add(link)
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_links" not in str(error.orig):
            raise
        raise LinkExists(f"{link.source_id} {link.type} {link.target_id} already") from None


async def remove(session: AsyncSession, link: Link) -> None:
    await session.delete(link)
    await session.flush()


# UNION drops what was reached before: a cycle ends, and each requirement is looked up once.
_IMPACT = text(
    "WITH RECURSIVE reached (id) AS (SELECT CAST(:id AS uuid) UNION"
    "  SELECT source_id FROM links JOIN reached ON target_id = reached.id WHERE type = ANY(:types)),"
    " others AS MATERIALIZED (SELECT id FROM reached WHERE id <> :id),"
    " page AS (SELECT id FROM others ORDER BY id OFFSET :skip LIMIT :limit)"
    " SELECT page.id, number, title, status, owner_team, service, (SELECT count(*) FROM others) AS total"
    " FROM (SELECT) AS one LEFT JOIN page ON true LEFT JOIN requirements USING (id) ORDER BY page.id"
).bindparams(bindparam("id", type_=Uuid), bindparam("types", type_=ARRAY(Text)))


async def impact(
    session: AsyncSession, id: UUID, types: Sequence[LinkType], skip: int, limit: int
) -> tuple[list[Row[Any]], int]:
    """Requirements from which links of these types lead to `id`, over any number of steps, and how many there are."""
    values = {"id": id, "types": [each.value for each in types], "skip": skip, "limit": limit}
    rows = (await session.execute(_IMPACT, values)).all()
    return [row for row in rows if row.id is not None], rows[0].total


async def exists(session: AsyncSession, id: UUID) -> bool:
    """Whether there is such a requirement, or a link knows of it."""
    known = select(
        or_(
            select(Requirement.id).where(Requirement.id == id).exists(),
            select(Link.id).where(Link.target_id == id).exists(),
        )
    )
    return bool(await session.scalar(known))


async def requirements(
    session: AsyncSession, service: str | None, owner_team: str | None, skip: int, limit: int
) -> tuple[Sequence[Row[Any]], int]:
    """The rows of a matrix, by key, and how many there are."""
    wanted: list[ColumnElement[bool]] = []
    if service is not None:
        wanted.append(Requirement.service == service)
    if owner_team is not None:
        wanted.append(Requirement.owner_team == owner_team)
    total = await session.scalar(select(func.count()).select_from(Requirement).where(*wanted))
    columns = [getattr(Requirement, name) for name in _END]
    rows = await session.execute(
        select(*columns).where(*wanted).order_by(Requirement.number).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


_CELLS = text(
    "SELECT row.id AS of, cell.* FROM unnest(:ids) AS row (id) CROSS JOIN LATERAL ("
    " SELECT link.id, link.type, link.direction, link.other_id, number, title, link.suspect, link.result FROM ("
    "  (SELECT id, type, 'to' AS direction, target_id AS other_id, suspect_since IS NOT NULL AS suspect,"
    "   evidence ->> 'result' AS result FROM links WHERE source_id = row.id ORDER BY id LIMIT :most)"
    "  UNION ALL"
    "  (SELECT id, type, 'from', source_id, suspect_since IS NOT NULL, evidence ->> 'result'"
    "   FROM links WHERE target_id = row.id ORDER BY id LIMIT :most)) AS link"
    " LEFT JOIN requirements ON requirements.id = link.other_id ORDER BY link.id LIMIT :most) AS cell"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def cells(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, list[Row[Any]]]:
    """The links of each of `ids`, at most `MOST_CELLS` of each."""
    found: dict[UUID, list[Row[Any]]] = {id: [] for id in ids}
    for row in await session.execute(_CELLS, {"ids": list(ids), "most": MOST_CELLS}):
        found[row.of].append(row)
    return found
