"""The SQL of the requirements service."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_requirements.models import Requirement

FILTERS = {
    "status": Requirement.status,
    "type": Requirement.type,
    "priority": Requirement.priority,
    "service": Requirement.service,
    "owner_team": Requirement.owner_team,
}


# On the table, not on the class, and built once: the ORM's own work would cost more than the query.
_TABLE = Requirement.__table__
_DOCUMENTS = select(_TABLE.c.id, _TABLE.c.revision, _TABLE.c.document).where(
    _TABLE.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))
)


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no requirement has the id {id}")


async def documents(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """The revision and the rendered document of each of `ids` that there is."""
    rows = await session.execute(_DOCUMENTS, {"ids": ids})
    return {row.id: (row.revision, row.document) for row in rows}


async def page(session: AsyncSession, filters: Mapping[str, str], skip: int, limit: int) -> tuple[str, int]:
    """The rendered documents of one page, newest first and joined with commas, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = [FILTERS[name] == value for name, value in filters.items()]
    newest = (
        select(Requirement.document)
        .where(*wanted)
        .order_by(Requirement.id.desc())
        .offset(skip)
        .limit(limit)
        .subquery()
    )
    # One statement, one snapshot, one round trip.
    row = (
        await session.execute(
            select(
                select(func.string_agg(newest.c.document, ",")).scalar_subquery().label("documents"),
                select(func.count()).select_from(Requirement).where(*wanted).scalar_subquery().label("total"),
            )
        )
    ).one()
    return row.documents or "", row.total


async def locked(session: AsyncSession, id: UUID) -> Requirement:
    """The row, held against other writers until the transaction ends. Raises `NotFound`."""
    requirement = await session.get(Requirement, id, with_for_update=True)
    if requirement is None:
        raise missing(id)
    return requirement


async def find_locked(session: AsyncSession, id: UUID) -> Requirement | None:
    """Like `locked`, for those who expect that it may be gone."""
    return await session.get(Requirement, id, with_for_update=True)
