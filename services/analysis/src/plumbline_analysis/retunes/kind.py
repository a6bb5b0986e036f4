"""Retunes as a kind of job: what they read, and the bar that they set where that was asked."""

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detectors import service as detectors
from plumbline_analysis.jobs.kind import Stepwise
from plumbline_analysis.models import Job
from plumbline_analysis.retunes.run import Change, Inputs, run
from plumbline_analysis.retunes.schemas import RetuneParameters
from plumbline_analysis.settings import Settings


async def gather(
    session: AsyncSession, asked: RetuneParameters, checkpoint: bytes | None, settings: Settings
) -> Inputs:
    """There is one step. Raises `NotFound`, `Outdated`, and `Invalid` for too many points."""
    step, most = settings.evaluation_interval_seconds, settings.job_points
    judged = await detectors.judged_history(session, asked.signal_id, asked.days, step, most)
    return Inputs(judged, asked.apply, asked.reason)


async def store(session: AsyncSession, job: Job, change: Change | None) -> None:
    """Raises `Retuned` where the bar was set since the history was read: the job then fails, and nothing is set."""
    if change is not None:
        await detectors.retune(session, change.proposal, change.reason, job.created_by)


RETUNE = Stepwise("retune", RetuneParameters, gather, run, store)
