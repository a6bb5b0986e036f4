"""Stored points over a long time, read day by day: no statement takes long."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_common import offload
from plumbline_common.errors import Invalid

_DAY = timedelta(days=1)
_HISTOGRAM = 10
"""A histogram takes the room of so many plain points."""


async def points(
    session: AsyncSession, signals: Sequence[SignalInfo], after: datetime, until: datetime, most: int
) -> Points:
    """The points in (after, until], and of each of their streams the last one before.

    Raises `Invalid` where that is more than `most`, or a day holds more than `reading.points` takes.
    """
    days: list[Points] = []
    room = most
    while after < until:
        end = min(after + _DAY, until)
        days.append(await reading.points(session, signals, after, end))
        room -= len(days[-1].time) + _HISTOGRAM * len(days[-1].histograms)
        if room < 0:
            raise Invalid(f"the history holds more than {most} points: ask for a shorter time")
        after = end
    return await offload.in_thread(joined, {signal.number: signal for signal in signals}, days)


def joined(signals: Mapping[int, SignalInfo], days: Sequence[Points]) -> Points:
    """Several days as one, by stream and time. A day has the last point before it too: each is taken once."""
    if not days:
        return Points(signals)
    signal, start, time, value = (
        np.concatenate([getattr(day, name) for day in days]) for name in ("signal", "start", "time", "value")
    )
    order = np.lexsort((time, start, signal))
    signal, start, time, value = signal[order], start[order], time[order], value[order]
    fresh = np.ones(len(time), np.bool_)
    fresh[1:] = (np.diff(signal) != 0) | (np.diff(start) != 0) | (np.diff(time) != 0)
    histograms = {(each.signal, each.start, each.time): each for day in days for each in day.histograms}
    return Points(signals, signal[fresh], time[fresh], start[fresh], value[fresh], list(histograms.values()))
