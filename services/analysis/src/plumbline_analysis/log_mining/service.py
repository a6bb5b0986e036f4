"""Log mining asked for."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs import service as jobs
from plumbline_analysis.log_mining import repository
from plumbline_analysis.log_mining.kind import LOG_MINING
from plumbline_analysis.log_mining.schemas import LogMiningContent, LogMiningParameters
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid, NotFound
from plumbline_common.schemas import JobSnapshot


async def request(
    session: AsyncSession, content: LogMiningContent, actor: UserInfo, longest_days: int
) -> JobSnapshot:
    """Queue a mining. Raises `NotFound` for a service without logs, and `Invalid` for times that none are kept of."""
    now = datetime.now(UTC)
    if content.service is not None and await repository.stream(session, content.service) is None:
        raise NotFound(f"the service {content.service} has logged nothing")
    if content.start is not None and not now - timedelta(days=longest_days) <= content.start <= now:
        raise Invalid(f"start must be one of the last {longest_days} days, of which lines are kept", pointer="/start")
    parameters = LogMiningParameters(**dict(content), asked_at=now)
    return await jobs.request(
        session,
        LOG_MINING.name,
        parameters.model_dump(mode="json"),
        actor,
        content.deadline_seconds,
        service=content.service,
    )
