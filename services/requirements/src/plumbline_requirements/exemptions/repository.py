"""The SQL of exemptions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_requirements.exemptions.schemas import StatusFilter
from plumbline_requirements.models import Exemption, Requirement


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no exemption has the id {id}")


async def page(
    session: AsyncSession,
    requirement_id: UUID | None,
    status: StatusFilter | None,
    now: datetime,
    skip: int,
    limit: int,
) -> tuple[Sequence[Exemption], int]:
    """Exemptions that match at `now`, the newest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = []
    if requirement_id is not None:
        wanted.append(Exemption.requirement_id == requirement_id)
    if status is not None:
        wanted.append(_in(status, now))
    total = await session.scalar(select(func.count()).select_from(Exemption).where(*wanted))
    rows = await session.scalars(
        select(Exemption).where(*wanted).order_by(Exemption.id.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


def _in(status: StatusFilter, now: datetime) -> ColumnElement[bool]:
    """What `rules.status_at` and `rules.active_at` tell, as SQL."""
    if status in (StatusFilter.REJECTED, StatusFilter.REVOKED):
        return Exemption.status == status.value
    if status is StatusFilter.EXPIRED:
        return and_(Exemption.status.in_(["requested", "approved"]), Exemption.expires_at <= now)
    if status is StatusFilter.ACTIVE:
        return and_(Exemption.status == "approved", Exemption.starts_at <= now, Exemption.expires_at > now)
    return and_(Exemption.status == status.value, Exemption.expires_at > now)


async def find(session: AsyncSession, id: UUID, *, locked: bool = False) -> Exemption:
    """One exemption; `locked` holds it against other writers. Raises `NotFound`."""
    exemption = await session.get(Exemption, id, with_for_update=True if locked else None)
    if exemption is None:
        raise missing(id)
    return exemption


async def save(session: AsyncSession, exemption: Exemption) -> None:
    """Write a new exemption, or what was changed in one."""
    session.add(exemption)
    await session.flush()


async def owners(session: AsyncSession, requirement_id: UUID) -> Sequence[str | None]:
    """The team that owns the requirement, None where no team does; empty where there is no such requirement."""
    return (await session.scalars(select(Requirement.owner_team).where(Requirement.id == requirement_id))).all()
