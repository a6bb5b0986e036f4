"""The SQL of hooks."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.deployment_hooks.schemas import Outcome
from plumbline_analysis.models import DeploymentHook
from plumbline_common.errors import NotFound


async def find(session: AsyncSession, id: UUID) -> DeploymentHook | None:
    return await session.get(DeploymentHook, id)


async def one(session: AsyncSession, id: UUID) -> DeploymentHook:
    """Raises `NotFound`."""
    found = await find(session, id)
    if found is None:
        raise NotFound(f"no deployment hook has the id {id}")
    return found


async def page(
    session: AsyncSession, service: str | None, skip: int, limit: int
) -> tuple[Sequence[DeploymentHook], int]:
    """By service, and how many there are in all."""
    wanted = [] if service is None else [DeploymentHook.service == service]
    order = (DeploymentHook.service, DeploymentHook.id)
    total = await session.scalar(select(func.count()).select_from(DeploymentHook).where(*wanted))
    rows = await session.scalars(select(DeploymentHook).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total or 0


async def count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(DeploymentHook)) or 0


async def note(session: AsyncSession, id: UUID, at: datetime, outcome: Outcome) -> None:
    """What became of the last delivery."""
    await session.execute(
        update(DeploymentHook).where(DeploymentHook.id == id).values(last_delivery_at=at, last_outcome=outcome)
    )
