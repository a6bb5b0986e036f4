"""The SQL of deployments."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Deployment
from plumbline_common.errors import NotFound

MOST_BEFORE = 20


async def one(session: AsyncSession, id: UUID) -> Deployment:
    """Raises `NotFound`."""
    found = (await session.execute(select(Deployment).where(Deployment.id == id))).scalar_one_or_none()
    if found is None:
        raise NotFound(f"no deployment has the id {id}")
    return found


async def page(
    session: AsyncSession,
    service: str | None,
    since: datetime | None,
    until: datetime | None,
    skip: int,
    limit: int,
) -> tuple[Sequence[Deployment], int]:
    """One page of those deployed in [since, until), the latest first, and how many there are in all."""
    wanted = []
    if service is not None:
        wanted.append(Deployment.service == service)
    if since is not None:
        wanted.append(Deployment.deployed_at >= since)
    if until is not None:
        wanted.append(Deployment.deployed_at < until)
    order = (Deployment.deployed_at.desc(), Deployment.id.desc())
    total = (await session.execute(select(func.count()).select_from(Deployment).where(*wanted))).scalar_one()
    rows = await session.scalars(select(Deployment).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total


async def before(
    session: AsyncSession, services: Collection[str], at: datetime, within: timedelta
) -> Sequence[Deployment]:
    """What was deployed of the services in [at - within, at], the nearest first, at most `MOST_BEFORE`."""
    rows = await session.scalars(
        select(Deployment)
        .where(Deployment.service.in_(services), Deployment.deployed_at.between(at - within, at))
        .order_by(Deployment.deployed_at.desc(), Deployment.id.desc())
        .limit(MOST_BEFORE)
    )
    return rows.all()


async def add(session: AsyncSession, **members: Any) -> Deployment | None:
    """A new deployment; None where the service has one of this external id."""
    statement = insert(Deployment).values(**members).on_conflict_do_nothing().returning(Deployment)
    return (await session.scalars(statement)).one_or_none()


async def named(session: AsyncSession, service: str, external_id: str | None) -> Deployment:
    """The deployment that its sender calls so."""
    return (
        await session.scalars(
            select(Deployment).where(Deployment.service == service, Deployment.external_id == external_id)
        )
    ).one()
