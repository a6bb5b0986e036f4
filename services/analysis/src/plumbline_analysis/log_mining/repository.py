"""The SQL of log mining: the lines of a service in a stretch of time."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import LogLine, LogStream


async def stream(session: AsyncSession, service: str) -> int | None:
    """The number of the stream of a service; None where it has logged nothing that is remembered."""
    found = await session.execute(select(LogStream.number).where(LogStream.service == service))
    return found.scalar_one_or_none()


def _lines(number: int, after: datetime, until: datetime) -> Select[int, datetime]:
    return select(LogLine.position, LogLine.ts).where(
        LogLine.stream == number, LogLine.ts > after, LogLine.ts <= until
    )


async def span(
    session: AsyncSession, number: int, after: datetime, until: datetime
) -> tuple[Row[int, datetime], Row[int, datetime]] | None:
    """Position and time of the first and the last line in (after, until]; None where there is none."""
    within = _lines(number, after, until)
    first = (await session.execute(within.order_by(LogLine.position).limit(1))).one_or_none()
    last = (await session.execute(within.order_by(LogLine.position.desc()).limit(1))).one_or_none()
    return (first, last) if first is not None and last is not None else None


async def lines(
    session: AsyncSession, number: int, position: int, last: int, after: datetime, until: datetime, most: int
) -> Sequence[Row[int, datetime, str]]:
    """Position, time and body of the next lines after `position` up to `last`, at most so many."""
    wanted = _lines(number, after, until).add_columns(LogLine.body)
    rows = await session.execute(
        wanted.where(LogLine.position > position, LogLine.position <= last).order_by(LogLine.position).limit(most)
    )
    return rows.all()
