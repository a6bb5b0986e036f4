"""The SQL of views."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_requirements.models import SavedView


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no view has the id {id}")


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> tuple[Sequence[SavedView], int]:
    """The views of a team, or of all teams, the newest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = [] if team is None else [SavedView.team == team]
    total = await session.scalar(select(func.count()).select_from(SavedView).where(*wanted))
    rows = await session.scalars(
        select(SavedView).where(*wanted).order_by(SavedView.id.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def find(session: AsyncSession, id: UUID, *, locked: bool = False) -> SavedView:
    """One view; `locked` holds it against other writers. Raises `NotFound`."""
    view = await session.get(SavedView, id, with_for_update=True if locked else None)
    if view is None:
        raise missing(id)
    return view


async def save(session: AsyncSession, view: SavedView) -> bool:
    """Write a new view, or what was changed in one. False where the team has another of that name."""
    try:
        async with session.begin_nested():
            session.add(view)
            await session.flush()
    except IntegrityError:
        return False
    return True


async def remove(session: AsyncSession, id: UUID) -> None:
    """Delete a view."""
    await session.execute(delete(SavedView).where(SavedView.id == id))
