"""The SQL of interchange: requirements one after the other, and those that records are about."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, RowMapping, TextClause, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_requirements.interchange.records import WRITTEN
from plumbline_requirements.listing import repository as listing
from plumbline_requirements.listing.repository import Filters
from plumbline_requirements.models import Link
from plumbline_requirements.requirements.repository import DOCUMENT, SUSPECTS


@lru_cache(maxsize=64)
def _next(shape: tuple[str, ...]) -> TextClause:
    return listing.typed(
        f"SELECT id, {DOCUMENT} AS document FROM (SELECT id, document, {SUSPECTS} AS suspects FROM requirements"  # noqa: S608
        f" WHERE {listing.where(shape, 'id > :last')} ORDER BY id LIMIT :limit) AS next",
        shape,
    ).bindparams(bindparam("last", type_=Uuid))


async def after(session: AsyncSession, filters: Filters, last: UUID, limit: int) -> Sequence[Any]:
    """The next requirements that match behind `last`: id and the API's document."""
    rows = await session.execute(_next(filters.shape), {**filters.parameters, "last": last, "limit": limit})
    return rows.all()


@lru_cache(maxsize=64)
def _next_ids(shape: tuple[str, ...]) -> TextClause:
    return listing.typed(
        f"SELECT id FROM requirements WHERE {listing.where(shape, 'id > :last')} ORDER BY id LIMIT :limit",  # noqa: S608
        shape,
    ).bindparams(bindparam("last", type_=Uuid))


async def ids_after(session: AsyncSession, filters: Filters, last: UUID, limit: int) -> Sequence[UUID]:
    rows = await session.scalars(_next_ids(filters.shape), {**filters.parameters, "last": last, "limit": limit})
    return rows.all()


_KNOWN = text(
    f"SELECT id, number, revision, status, {', '.join(WRITTEN)} FROM requirements"  # noqa: S608 - own names
    " WHERE id = ANY(:ids) UNION"
    f" SELECT id, number, revision, status, {', '.join(WRITTEN)} FROM requirements WHERE number = ANY(:numbers)"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("numbers", type_=ARRAY(BigInteger)))
_DELETED = text(
    "SELECT DISTINCT requirement_id FROM requirement_revisions WHERE requirement_id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM requirements WHERE id = requirement_id)"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def known(session: AsyncSession, ids: Collection[UUID], numbers: Collection[int]) -> Sequence[Any]:
    """Those of the requirements that there are, with what people wrote."""
    return (await session.execute(_KNOWN, {"ids": list(ids), "numbers": list(numbers)})).all()


async def deleted(session: AsyncSession, ids: Collection[UUID]) -> set[UUID]:
    """Which of the ids were those of requirements that were deleted."""
    return set(await session.scalars(_DELETED, {"ids": list(ids)}))


# --- Links ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _next_links(shape: tuple[str, ...]) -> TextClause:
    within = f"SELECT id FROM requirements WHERE {listing.where(shape, 'id <= :end')}"  # noqa: S608 - own names
    return listing.typed(
        "SELECT id, type, source_id, target_id, updated_at FROM links WHERE id > :last"  # noqa: S608 - own names
        f" AND source_id IN ({within}) AND target_id IN ({within}) ORDER BY id LIMIT :limit",
        shape,
    ).bindparams(bindparam("last", type_=Uuid), bindparam("end", type_=Uuid))


async def links_after(
    session: AsyncSession, filters: Filters, end: UUID, last: UUID, limit: int
) -> Sequence[RowMapping]:
    """The next links behind `last` whose ends both match and have an id up to `end`."""
    values = {**filters.parameters, "last": last, "end": end, "limit": limit}
    return (await session.execute(_next_links(filters.shape), values)).mappings().all()


async def links_of(session: AsyncSession, sources: Collection[UUID]) -> set[tuple[UUID, UUID, str]]:
    """Source, target and type of the links of these requirements."""
    rows = await session.execute(select(Link.source_id, Link.target_id, Link.type).where(Link.source_id.in_(sources)))
    return {(row.source_id, row.target_id, row.type) for row in rows}
