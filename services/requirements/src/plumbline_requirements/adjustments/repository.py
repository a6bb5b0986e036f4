"""The SQL of adjustments."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_common.schemas import AdjustmentCategory
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.models import BudgetAdjustment, Requirement


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no adjustment has the id {id}")


async def page(
    session: AsyncSession,
    requirement_id: UUID | None,
    service: str | None,
    category: AdjustmentCategory | None,
    status: Status | None,
    now: datetime,
    skip: int,
    limit: int,
) -> tuple[Sequence[BudgetAdjustment], int]:
    """Adjustments that match at `now`, the newest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = []
    if requirement_id is not None:
        wanted.append(_of(requirement_id))
    if service is not None:
        wanted.append(BudgetAdjustment.service == service)
    if category is not None:
        wanted.append(BudgetAdjustment.category == category.value)
    if status is not None:
        wanted.append(_in(status, now))
    total = await session.scalar(select(func.count()).select_from(BudgetAdjustment).where(*wanted))
    rows = await session.scalars(
        select(BudgetAdjustment).where(*wanted).order_by(BudgetAdjustment.id.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


def _of(requirement_id: UUID) -> ColumnElement[bool]:
    """Those that name the requirement, or its service (and its team)."""
    its_service = exists().where(
        Requirement.id == requirement_id,
        Requirement.service == BudgetAdjustment.service,
        or_(BudgetAdjustment.team.is_(None), Requirement.owner_team == BudgetAdjustment.team),
    )
    return or_(BudgetAdjustment.requirement_ids.contains([requirement_id]), its_service)


def _in(status: Status, now: datetime) -> ColumnElement[bool]:
    """What `rules.status_at` tells, as SQL."""
    if status is Status.EXPIRED:
        return and_(BudgetAdjustment.status == "approved", BudgetAdjustment.ends_at <= now)
    if status is Status.APPROVED:
        return and_(BudgetAdjustment.status == "approved", BudgetAdjustment.ends_at > now)
    return BudgetAdjustment.status == status.value


async def find(session: AsyncSession, id: UUID, *, locked: bool = False) -> BudgetAdjustment:
    """One adjustment; `locked` holds it against other writers. Raises `NotFound`."""
    found = await session.get(BudgetAdjustment, id, with_for_update=True if locked else None)
    if found is None:
        raise missing(id)
    return found


async def save(session: AsyncSession, adjustment: BudgetAdjustment) -> None:
    """Write a new adjustment, or what was changed in one."""
    session.add(adjustment)
    await session.flush()


async def owners(session: AsyncSession, requirement_ids: Sequence[UUID]) -> dict[UUID, str | None]:
    """The teams that own those of the requirements that there are."""
    rows = await session.execute(
        select(Requirement.id, Requirement.owner_team).where(Requirement.id.in_(requirement_ids))
    )
    return {row.id: row.owner_team for row in rows}
