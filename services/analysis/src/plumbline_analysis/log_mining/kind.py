"""Log mining as a kind of job: the lines that each step reads."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs.kind import Stepwise
from plumbline_analysis.log_mining import repository
from plumbline_analysis.log_mining.run import Inputs, Where, run
from plumbline_analysis.log_mining.schemas import LogMiningParameters
from plumbline_analysis.models import Job
from plumbline_analysis.moments import micros
from plumbline_analysis.settings import Settings
from plumbline_common.errors import NotFound

AT_ONCE = 20_000
"""Lines of a step."""


async def gather(
    session: AsyncSession, asked: LogMiningParameters, checkpoint: bytes | None, settings: Settings
) -> Inputs:
    """The next lines. Raises `NotFound` where the service has logged nothing in that time."""
    if asked.lines is not None:
        where = Where(0, 0, 0, 0, len(asked.lines) - 1)
        return Inputs(where, None, None, 0, range(len(asked.lines)), asked.lines, is_last=True)
    end = asked.end or asked.asked_at
    kept = asked.asked_at - timedelta(days=settings.log_retention_days)
    start = max(asked.start, kept) if asked.start else kept
    begun = Where.of(checkpoint) if checkpoint else await _begun(session, asked.service or "", start, end)
    rows = await repository.lines(session, begun.number, begun.position, begun.last, start, end, AT_ONCE)
    position = rows[-1].position if rows else begun.last
    return Inputs(
        Where(begun.number, position, begun.last, begun.start, begun.end),
        checkpoint and checkpoint[len(begun.to_bytes()) :],
        settings.log_interval_seconds * 1_000_000,
        int(settings.lateness_seconds * 1e6),
        [micros(row.ts) for row in rows],
        [row.body for row in rows],
        is_last=len(rows) < AT_ONCE or position >= begun.last,
    )


async def _begun(session: AsyncSession, service: str, start: datetime, end: datetime) -> Where:
    number = await repository.stream(session, service)
    span = None if number is None else await repository.span(session, number, start, end)
    if number is None or span is None:
        raise NotFound(f"no lines of the service {service} are kept of that time")
    first, last = span
    return Where(number, first.position - 1, last.position, micros(first.ts), max(map(micros, (first.ts, last.ts))))


async def store(session: AsyncSession, job: Job, found: None) -> None:
    """The result has all; what the evaluation of logs keeps stays as it is."""


LOG_MINING = Stepwise("log_mining", LogMiningParameters, gather, run, store)
