"""The SQL of anomalies."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies.schemas import AnomalySort
from plumbline_analysis.models import Anomaly, AnomalyLabel
from plumbline_common import db
from plumbline_common.errors import NotFound
from plumbline_common.schemas import AnomalyState


async def one(session: AsyncSession, id: UUID, *, locked: bool = False) -> Anomaly:
    """`locked` holds it against other writers. Raises `NotFound`."""
    found = await session.get(Anomaly, id, with_for_update=True if locked else None)
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
    backfilled: bool | None = None,
) -> tuple[Sequence[Anomaly], int]:
    """One page by onset, and how many there are in all; those that a backfill found, or the others, where asked."""
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(Anomaly.state == state)
    if service is not None:
        wanted.append(Anomaly.service == service)
    if requirement_id is not None:
        wanted.append(Anomaly.requirement_id == requirement_id)
    if backfilled is not None:
        wanted.append(Anomaly.backfill_job_id.is_not(None) if backfilled else Anomaly.backfill_job_id.is_(None))
    order = (Anomaly.onset.desc(), Anomaly.id.desc()) if sort is AnomalySort.NEWEST else (Anomaly.onset, Anomaly.id)
    total = (await session.execute(select(func.count()).select_from(Anomaly).where(*wanted))).scalar_one()
    rows = await session.execute(select(Anomaly).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.scalars().all(), total


async def of_signal(session: AsyncSession, signal_id: UUID, start: datetime, end: datetime) -> Sequence[Anomaly]:
    """The anomalies of a signal that went on in [start, end], oldest first, at most 100."""
    rows = await session.scalars(
        select(Anomaly)
        .where(
            Anomaly.signal_id == signal_id,
            Anomaly.onset <= end,
            or_(Anomaly.end.is_(None), Anomaly.end >= start),
        )
        .order_by(Anomaly.onset, Anomaly.id)
        .limit(100)
    )
    return rows.all()


async def labels(
    session: AsyncSession, anomaly_id: UUID, skip: int, limit: int
) -> tuple[Sequence[AnomalyLabel], int]:
    """One page of what people say of it, the latest first, and how many do."""
    of_it = AnomalyLabel.anomaly_id == anomaly_id
    total = await session.scalar(select(func.count()).select_from(AnomalyLabel).where(of_it))
    order = (AnomalyLabel.labelled_at.desc(), AnomalyLabel.labelled_by)
    rows = await session.scalars(select(AnomalyLabel).where(of_it).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total or 0


async def save_label(session: AsyncSession, label: AnomalyLabel) -> bool:
    """Keep what somebody says of a locked anomaly, in the place of what they said before. Whether it is new."""
    is_new = await session.get(AnomalyLabel, (label.anomaly_id, label.labelled_by)) is None
    await session.merge(label)
    await session.flush()
    return is_new


async def ongoing_of_logs(session: AsyncSession, service: str) -> Sequence[Anomaly]:
    """The anomalies of a service's logs that have not ended, locked."""
    rows = await session.execute(
        select(Anomaly)
        .where(Anomaly.service == service, Anomaly.log.is_not(None), Anomaly.end.is_(None))
        .with_for_update()
    )
    return rows.scalars().all()


_ONGOING = (
    'SELECT id FROM anomalies WHERE requirement_id = ANY($1::uuid[]) AND "end" IS NULL ORDER BY onset, id FOR UPDATE'
)


async def ongoing(session: AsyncSession, requirements: Sequence[UUID]) -> Sequence[Anomaly]:
    """The anomalies of the requirements that have not ended, oldest first, locked."""
    # Mostly there are none.
    if not (ids := [row["id"] for row in await db.fetch(session, _ONGOING, requirements)]):
        return []
    order = Anomaly.onset, Anomaly.id
    return (await session.scalars(select(Anomaly).where(Anomaly.id.in_(ids)).order_by(*order))).all()
