"""Backtests asked for."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.backtests.kind import BACKTEST
from plumbline_analysis.backtests.schemas import DAYS, BacktestContent, BacktestParameters
from plumbline_analysis.jobs import service as jobs
from plumbline_analysis.points import reading
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.signals import rules as signal_rules
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.schemas import JobSnapshot


async def request(
    session: AsyncSession, signal_id: UUID, content: BacktestContent, actor: UserInfo, longest_days: int
) -> JobSnapshot:
    """Queue a backtest of a signal. Raises `NotFound`, and `Invalid` for what a worker could only refuse."""
    signal = await signals.one(session, signal_id)
    now = datetime.now(UTC)
    _check(content, now, longest_days)
    signal_rules.aggregation(reading.info(signal), signal.aggregation, content.aggregation)
    parameters = BacktestParameters(**dict(content), signal_id=signal_id, asked_at=now)
    return await jobs.request(
        session,
        BACKTEST.name,
        parameters.model_dump(mode="json"),
        actor,
        content.deadline_seconds,
        service=signal.service,
        signal_id=signal_id,
    )


def _check(content: BacktestContent, now: datetime, longest_days: int) -> None:
    if content.points is not None:
        if content.start or content.end or content.aggregation:
            raise Invalid(
                "points that are sent along are taken as they are: leave out start, end and aggregation",
                pointer="/points",
            )
        return
    end = content.end or now
    start = content.start or end - timedelta(days=DAYS)
    if not timedelta() < end - start <= timedelta(days=longest_days):
        raise Invalid(f"start must be before end, by at most {longest_days} days", pointer="/start")
