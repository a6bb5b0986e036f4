"""Jobs asked for, read, cancelled; and what their workers tell of them, as far as their claims hold."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs import repository, rules
from plumbline_analysis.jobs.repository import Claim
from plumbline_analysis.jobs.rules import Progress
from plumbline_analysis.jobs.schemas import JobPage, JobResponse
from plumbline_analysis.models import Job
from plumbline_common import db, outbox, telemetry
from plumbline_common.auth import UserInfo
from plumbline_common.events import (
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobProgressed,
    JobRequested,
    JobStarted,
)
from plumbline_common.schemas import JobFailure, JobSnapshot, JobState

_ENDS: Mapping[JobState, type[JobCompleted | JobFailed | JobCancelled]] = {
    JobState.SUCCEEDED: JobCompleted,
    JobState.FAILED: JobFailed,
    JobState.TIMED_OUT: JobFailed,
    JobState.CANCELLED: JobCancelled,
}


async def request(
    session: AsyncSession,
    kind: str,
    parameters: dict[str, Any],
    actor: UserInfo,
    deadline_seconds: int,
    *,
    service: str | None = None,
    signal_id: UUID | None = None,
) -> JobSnapshot:
    """Queue a job. What it is about is for lists and for whoever hears of it."""
    now = await repository.now(session)
    job = await repository.add(
        session,
        id=db.new_id(),
        kind=kind,
        state=JobState.QUEUED,
        service=service,
        signal_id=signal_id,
        parameters=parameters,
        progress=0.0,
        message="",
        attempts=0,
        token=0,
        deadline_at=now + timedelta(seconds=deadline_seconds),
        trace=telemetry.inject(),
        created_at=now,
        created_by=actor.subject,
        revision=1,
    )
    return await _told(session, job, JobRequested)


async def page(session: AsyncSession, state: JobState | None, kind: str | None, skip: int, limit: int) -> JobPage:
    found, total = await repository.page(session, state, kind, skip, limit)
    return JobPage(items=[JobSnapshot.model_validate(each) for each in found], total=total)


async def one(session: AsyncSession, id: UUID) -> JobResponse:
    return JobResponse.model_validate(await repository.one(session, id))


async def cancel(session: AsyncSession, id: UUID, actor: UserInfo) -> JobSnapshot:
    """End a job without a result, at once: its worker hears of it. One that is cancelled already stays so."""
    job = await repository.one(session, id, lock=True)
    may = job.created_by == actor.subject or actor.may("operator")
    state = JobState(job.state)
    if may and state is JobState.CANCELLED:
        return JobSnapshot.model_validate(job)
    rules.check_cancellable(state, may=may)
    _end(job, JobState.CANCELLED, await repository.now(session))
    await session.flush()
    return await _told(session, job, JobCancelled)


async def _told(session: AsyncSession, job: Job, event: type[Any]) -> JobSnapshot:
    snapshot = JobSnapshot.model_validate(job)
    told: Event = event(job=snapshot)
    await outbox.stage(session, told)
    await repository.notify(session)
    return snapshot


def _end(job: Job, state: JobState, now: datetime, failure: JobFailure | None = None) -> None:
    job.state = state
    job.finished_at = now
    job.checkpoint = None
    job.failure = None if failure is None else failure.model_dump()
    job.revision += 1


# --- What a worker tells --------------------------------------------------------------------------------


async def claim(session: AsyncSession, worker: str, kinds: Collection[str]) -> Job | None:
    """The job of these kinds that has waited longest, for this worker; None where none waits."""
    job = await repository.claim(session, worker, kinds)
    if job is not None:
        await _told(session, job, JobStarted)
    return job


async def beat(session: AsyncSession, claim: Claim, progress: Progress, told: Progress) -> Progress | None:
    """Say that the worker lives and how far it is, where it last told `told`. What is told now; None where the job is
    its own no longer."""
    if not await repository.touch(session, claim):
        return None
    if not progress.is_news(told):
        return told
    job = await repository.change(session, claim, progress=progress.share, message=progress.message)
    if job is None:
        return None
    await _told(session, job, JobProgressed)
    return progress


async def keep(session: AsyncSession, claim: Claim, progress: Progress, checkpoint: bytes) -> Job | None:
    """Keep where the next step of a job goes on. None, and nothing is written, where it is another's or over.

    A job that gets on is not the ruin of its workers: the attempts before do not count.
    """
    members = {"progress": progress.share, "message": progress.message, "checkpoint": checkpoint, "attempts": 1}
    job = await repository.change(session, claim, **members)
    if job is not None:
        await repository.notify(session)
    return job


async def succeed(session: AsyncSession, claim: Claim, result: dict[str, Any]) -> Job | None:
    """Write the result. None, and nothing is written, where the job is another's or over."""
    return await _ended(session, claim, JobState.SUCCEEDED, progress=1.0, message="", result=result)


async def fail(session: AsyncSession, claim: Claim, state: JobState, failure: JobFailure) -> Job | None:
    """End it as FAILED or TIMED_OUT, as `succeed` does."""
    return await _ended(session, claim, state, failure=failure.model_dump())


async def _ended(session: AsyncSession, claim: Claim, state: JobState, **members: Any) -> Job | None:
    finished = await repository.now(session)
    job = await repository.change(session, claim, state=state, finished_at=finished, checkpoint=None, **members)
    if job is not None:
        await _told(session, job, _ENDS[state])
    return job


async def hand_back(session: AsyncSession, claim: Claim) -> None:
    """Give a job that was not finished to another worker; the attempt does not count."""
    if await repository.change(session, claim, state=JobState.QUEUED, attempts=Job.attempts - 1):
        await repository.notify(session)


async def give_up(session: AsyncSession, claim: Claim, most: int, reason: str) -> None:
    """End an attempt that came to nothing: another follows where fewer than `most` were made and there is time."""
    job = await repository.one(session, claim.id, lock=True)
    if job.token == claim.token and job.state == JobState.RUNNING:
        await _left(session, job, most, await repository.now(session), reason)


async def recover(session: AsyncSession, stale: timedelta, most: int) -> int:
    """See to jobs that nobody will end, some at a time: queue them again or end them. How many these were."""
    jobs = await repository.left(session, stale)
    now = await repository.now(session)
    for job in jobs:
        await _left(
            session, job, most, now, f"its worker {job.worker} was not heard of for {stale.total_seconds():g} s"
        )
    return len(jobs)


async def _left(session: AsyncSession, job: Job, most: int, now: datetime, reason: str) -> None:
    fate = rules.fate(job.attempts, job.deadline_at, now, most, reason)
    if fate.state is JobState.QUEUED:
        job.state = fate.state
        job.revision += 1
        await session.flush()
        await repository.notify(session)
        return
    _end(job, fate.state, now, fate.failure)
    await session.flush()
    await _told(session, job, _ENDS[fate.state])
