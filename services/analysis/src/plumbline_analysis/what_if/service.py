"""What-ifs asked for."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs import service as jobs
from plumbline_analysis.what_if.kind import WHAT_IF
from plumbline_analysis.what_if.schemas import DAYS, WhatIfContent, WhatIfParameters
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.schemas import JobSnapshot


async def request(session: AsyncSession, content: WhatIfContent, actor: UserInfo, longest_days: int) -> JobSnapshot:
    """Queue a what-if. Raises `Invalid` for times that no history is kept of."""
    now = datetime.now(UTC)
    end = content.end or now
    start = content.start or end - timedelta(days=DAYS)
    if not timedelta() < end - start <= timedelta(days=longest_days):
        raise Invalid(f"start must be before end, by at most {longest_days} days", pointer="/start")
    parameters = WhatIfParameters(**dict(content), asked_at=now)
    return await jobs.request(
        session,
        WHAT_IF.name,
        parameters.model_dump(mode="json"),
        actor,
        content.deadline_seconds,
        service=content.service or content.slo.service,
    )
