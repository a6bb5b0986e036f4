"""The SQL of anomalies."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies.schemas import AnomalySort
from plumbline_analysis.models import Anomaly
from plumbline_common.errors import NotFound
from plumbline_common.schemas import AnomalyState


async def one(session: AsyncSession, id: UUID) -> Anomaly:
    """Raises `NotFound`."""
    found = (await session.execute(select(Anomaly).where(Anomaly.id == id))).scalar_one_or_none()
    if found is None:
        raise NotFound(f"no anomaly has the id {id}")
    return found


async def page(
    session: AsyncSession,
    state: AnomalyState | None,
    service: str | None,
    requirement_id: UUID | None,
    sort: AnomalySort,
    skip: int,
    limit: int,
) -> tuple[Sequence[Anomaly], int]:
    """One page by onset, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(Anomaly.state == state)
    if service is not None:
        wanted.append(Anomaly.service == service)
    if requirement_id is not None:
        wanted.append(Anomaly.requirement_id == requirement_id)
    order = (Anomaly.onset.desc(), Anomaly.id.desc()) if sort is AnomalySort.NEWEST else (Anomaly.onset, Anomaly.id)
    total = (await session.execute(select(func.count()).select_from(Anomaly).where(*wanted))).scalar_one()
    rows = await session.execute(select(Anomaly).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.scalars().all(), total


async def ongoing_of_logs(session: AsyncSession, service: str) -> Sequence[Anomaly]:
    """The anomalies of a service's logs that have not ended, locked."""
    rows = await session.execute(
        select(Anomaly)
        .where(Anomaly.service == service, Anomaly.log.is_not(None), Anomaly.end.is_(None))
        .with_for_update()
    )
    return rows.scalars().all()


async def ongoing(session: AsyncSession, requirements: Collection[UUID]) -> Sequence[Anomaly]:
    """The anomalies of the requirements that have not ended, oldest first, locked."""
    rows = await session.execute(
        select(Anomaly)
        .where(Anomaly.requirement_id.in_(requirements), Anomaly.end.is_(None))
        .order_by(Anomaly.onset, Anomaly.id)
        .with_for_update()
    )
    return rows.scalars().all()
