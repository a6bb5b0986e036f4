"""Retunes asked for."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detectors import repository as detectors
from plumbline_analysis.jobs import service as jobs
from plumbline_analysis.retunes.kind import RETUNE
from plumbline_analysis.retunes.schemas import RetuneContent, RetuneParameters
from plumbline_common.auth import UserInfo
from plumbline_common.schemas import JobSnapshot


async def request(session: AsyncSession, signal_id: UUID, content: RetuneContent, actor: UserInfo) -> JobSnapshot:
    """Queue a retune of the detector of a signal. Raises `NotFound` where none watches it."""
    found = await detectors.find(session, signal_id)
    parameters = RetuneParameters(**dict(content), signal_id=signal_id)
    return await jobs.request(
        session,
        RETUNE.name,
        parameters.model_dump(mode="json"),
        actor,
        content.deadline_seconds,
        service=found.requirement.service,
        signal_id=signal_id,
    )
