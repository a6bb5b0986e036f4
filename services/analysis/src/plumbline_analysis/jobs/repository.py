"""The SQL of jobs. What a worker writes names its claim, and changes nothing where that holds no longer."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Job
from plumbline_common import db, outbox
from plumbline_common.errors import NotFound
from plumbline_common.schemas import JobState

BATCH = 100
CHANGED = "jobs_changed"
"""The channel that hears of each change of a job."""

_CLOCK: ColumnElement[datetime] = func.clock_timestamp()
_NOTIFY = text(f"SELECT pg_notify('{CHANGED}_' || current_user, '')")


async def add(session: AsyncSession, **members: Any) -> Job:
    job = Job(**members)
    session.add(job)
    await session.flush()
    return job


async def one(session: AsyncSession, id: UUID, *, lock: bool = False) -> Job:
    """Raises `NotFound`."""
    wanted = select(Job).where(Job.id == id)
    found = (await session.scalars(wanted.with_for_update() if lock else wanted)).one_or_none()
    if found is None:
        raise NotFound(f"no job has the id {id}")
    return found


async def page(
    session: AsyncSession, state: JobState | None, kind: str | None, skip: int, limit: int
) -> tuple[Sequence[Job], int]:
    """One page, the newest first, and how many there are in all."""
    wanted = []
    if state is not None:
        wanted.append(Job.state == state)
    if kind is not None:
        wanted.append(Job.kind == kind)
    total = (await session.execute(select(func.count()).select_from(Job).where(*wanted))).scalar_one()
    rows = await session.scalars(select(Job).where(*wanted).order_by(Job.id.desc()).offset(skip).limit(limit))
    return rows.all(), total


async def changed(session: AsyncSession, ids: Collection[UUID]) -> Sequence[Job]:
    return (await session.scalars(select(Job).where(Job.id.in_(ids)))).all()


async def notify(session: AsyncSession) -> None:
    """Let those who follow jobs look, once the transaction has committed."""
    await session.execute(_NOTIFY)


@asynccontextmanager
async def listening(sessions: db.Sessions, wake: asyncio.Event) -> AsyncIterator[Any]:
    """A connection that sets `wake` at each change of a job, and when it ends."""
    async with sessions() as session, outbox.listening(await session.connection(), CHANGED, wake) as driver:
        yield driver


# --- What a worker does ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """That a worker has a job. `token` tells this claim from all before and after it."""

    id: UUID
    token: int


async def claim(session: AsyncSession, worker: str, kinds: Collection[str]) -> Job | None:
    """The job of these kinds that has waited longest, now running here; None where none waits."""
    waiting = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.kind.in_(kinds), Job.deadline_at > _CLOCK)
        .order_by(Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("waiting")
    )
    return (
        await session.scalars(
            update(Job)
            .where(Job.id == waiting.c.id)
            .values(
                state=JobState.RUNNING,
                worker=worker,
                attempts=Job.attempts + 1,
                token=Job.token + 1,
                heartbeat_at=_CLOCK,
                started_at=func.coalesce(Job.started_at, _CLOCK),
                progress=case((Job.checkpoint.is_(None), 0.0), else_=Job.progress),
                message="",
                revision=Job.revision + 1,
            )
            .returning(Job)
        )
    ).one_or_none()


async def change(session: AsyncSession, claim: Claim, **members: Any) -> Job | None:
    """Write what its worker has to say of a job. None, and nothing is written, where it is another's or over."""
    held = (Job.id == claim.id, Job.token == claim.token, Job.state == JobState.RUNNING)
    statement = update(Job).where(*held).values(**members, revision=Job.revision + 1).returning(Job)
    return (await session.scalars(statement)).one_or_none()


async def touch(session: AsyncSession, claim: Claim) -> bool:
    """Say that a job's worker lives. Whether the job is still its own."""
    held = (Job.id == claim.id, Job.token == claim.token, Job.state == JobState.RUNNING)
    found = await session.execute(update(Job).where(*held).values(heartbeat_at=_CLOCK).returning(Job.id))
    return found.first() is not None


async def checkpoint(session: AsyncSession, id: UUID) -> bytes | None:
    """Where the next step of a job goes on; None where it has made none."""
    return (await session.execute(select(Job.checkpoint).where(Job.id == id))).scalar_one_or_none()


# --- What is left behind --------------------------------------------------------------------------------


async def left(session: AsyncSession, stale: timedelta) -> Sequence[Job]:
    """Some jobs that nobody will end: without a sign of their worker for `stale`, or past their deadline and not
    their worker's any more. They stay locked."""
    silent = and_(Job.state == JobState.RUNNING, Job.heartbeat_at < _CLOCK - stale)
    late = and_(Job.state == JobState.RUNNING, Job.deadline_at < _CLOCK - stale)
    unclaimed = and_(Job.state == JobState.QUEUED, Job.deadline_at <= _CLOCK)
    wanted = select(Job).where(or_(silent, late, unclaimed)).order_by(Job.id).limit(BATCH)
    return (await session.scalars(wanted.with_for_update(skip_locked=True))).all()


async def forget(session: AsyncSession, before: datetime) -> None:
    """Delete the jobs that ended before."""
    await session.execute(delete(Job).where(Job.finished_at < before))


_QUEUE = text(
    "SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running,"
    " coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE state = 'queued')), 0) AS age"
    " FROM jobs WHERE state IN ('queued', 'running')"
)


@dataclass(frozen=True)
class Queue:
    """How many jobs wait and run, and how long the first has waited, in seconds."""

    queued: int
    running: int
    age: float


async def queue(session: AsyncSession) -> Queue:
    row = (await session.execute(_QUEUE)).one()
    return Queue(row.queued, row.running, float(row.age))


async def now(session: AsyncSession) -> datetime:
    """By the clock of the database, which all workers share."""
    return (await session.execute(select(_CLOCK))).scalar_one()
