"""The SQL of the requirements service."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy import ARRAY, TextClause, Uuid, any_, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_requirements.models import Requirement

FILTERS = ("status", "type", "priority", "service", "owner_team")

# On the table, not on the class, and built once: the ORM's own work would cost more than the query.
_TABLE = Requirement.__table__
_DOCUMENTS = select(_TABLE.c.id, _TABLE.c.revision, _TABLE.c.document).where(
    _TABLE.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))
)


_NUMBER = text("SELECT nextval(pg_get_serial_sequence('requirements', 'number'))")


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no requirement has the id {id}")


async def documents(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """The revision and the rendered document of each of `ids` that there is."""
    rows = await session.execute(_DOCUMENTS, {"ids": ids})
    return {row.id: (row.revision, row.document) for row in rows}


@lru_cache
def _page(filters: tuple[str, ...]) -> TextClause:
    """One statement, one snapshot, one round trip; the documents come as bytes, as they are sent."""
    wanted = " AND ".join(f"{name} = :{name}" for name in filters) or "true"
    return text(
        "SELECT convert_to(coalesce(string_agg(document, ','), ''), 'UTF8') AS documents,"  # noqa: S608 - own names
        f" (SELECT count(*) FROM requirements WHERE {wanted}) AS total"
        f" FROM (SELECT document FROM requirements WHERE {wanted}"
        "  ORDER BY id DESC OFFSET :skip LIMIT :limit) AS newest"
    )


async def page(session: AsyncSession, filters: Mapping[str, str], skip: int, limit: int) -> tuple[bytes, int]:
    """The rendered documents of one page, newest first and joined with commas, and how many there are in all."""
    names = tuple(name for name in FILTERS if name in filters)
    row = (await session.execute(_page(names), {**filters, "skip": skip, "limit": limit})).one()
    return row.documents, row.total


async def draw_number(session: AsyncSession) -> int:
    """The number of the next requirement. Beforehand, so that the row is written once, with its document."""
    number: int = (await session.execute(_NUMBER)).scalar_one()
    return number


async def locked(session: AsyncSession, id: UUID) -> Requirement:
    """The row, held against other writers until the transaction ends. Raises `NotFound`."""
    requirement = await session.get(Requirement, id, with_for_update=True)
    if requirement is None:
        raise missing(id)
    return requirement


async def find_locked(session: AsyncSession, id: UUID) -> Requirement | None:
    """Like `locked`, for those who expect that it may be gone."""
    return await session.get(Requirement, id, with_for_update=True)
