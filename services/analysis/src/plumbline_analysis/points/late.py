"""Points that come too late for the rollups of their hour: the hour is noted in the transaction that stores them.

An hour is named by its end, and holds the points after the end of the one before it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.moments import micros, moment
from plumbline_analysis.series.slices import Int64
from plumbline_analysis.threads import sized
from plumbline_common import db

HOUR = 3_600_000_000
"""In microseconds."""
SETTLE = timedelta(minutes=5)
"""An hour is rolled up so long after its end, by the clock of the database and the oldest open transaction."""
TIMELY = timedelta(minutes=4)
"""Points that are stored sooner after the end of their hour are there when it is rolled up: the difference is what
the clocks of the service and of the database may lie apart."""


def hour_ends(time: Int64) -> Int64:
    """The ends of the hours of these times, in microseconds."""
    return -(-time // HOUR) * HOUR


async def mark(session: AsyncSession, signal: Int64, time: Int64) -> None:
    """Note the hours of these points for which they may come too late; shape (n,) each, times in microseconds.

    Timely points cost no statement.
    """
    await add(session, *await sized(len(time), _late, signal, hour_ends(time), datetime.now(UTC) - TIMELY))


def _late(signal: Int64, hour: Int64, timely: datetime) -> tuple[list[int], list[datetime]]:
    """The signals and hours up to `timely`, each pair once."""
    late = hour <= micros(timely)
    if not late.any():
        return [], []
    signals, hours = np.unique(np.stack((signal[late], hour[late])), axis=1).tolist()
    return signals, [moment(each) for each in hours]


_ADD = (
    "INSERT INTO late_hours (signal, hour, is_next) SELECT signal, hour, $3::bool"
    " FROM unnest($1::bigint[], $2::timestamptz[]) AS late (signal, hour)"
)


async def add(
    session: AsyncSession, signals: Sequence[int], hours: Sequence[datetime], *, is_next: bool = False
) -> None:
    """Note these hours of signals, pair by pair; `is_next` where they only hold the point after a late one."""
    if signals:
        await db.fetch(session, _ADD, signals, hours, is_next)
