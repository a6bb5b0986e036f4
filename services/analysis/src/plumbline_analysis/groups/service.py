"""Scoring the signals of one service together."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.groups import rules
from plumbline_analysis.groups.rules import Found, Judged, Part
from plumbline_analysis.groups.schemas import GroupAlarm, GroupPart, GroupPoint, GroupScores, GroupSeries
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.panel import Series, panel
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.signals import repository
from plumbline_analysis.signals import rules as asking
from plumbline_analysis.signals.service import asked_range
from plumbline_common import offload

MOST_SIGNALS = 200
"""So many signals of a service are judged, whole metrics in the order of their names."""
LEAST_BEFORE = 120
"""The group learns from as many slices before the range as it has, and at least from so many."""


async def scores(
    session: AsyncSession,
    service: str,
    start: datetime | None,
    end: datetime | None,
    step_seconds: int | None,
    native_seconds: int,
) -> GroupScores:
    """How unusual a service's signals are, taken together, and which of them make it so. Raises `Invalid` for a range
    that can't be meant or holds too much."""
    after, until = asked_range(start, end)
    asked = asking.grid(micros(after), micros(until), step_seconds, native_seconds)
    before = max(asked.count, LEAST_BEFORE)
    grid = Grid(asked.start - before * asked.step, asked.step, before + asked.count)
    span = moment(grid.start), moment(grid.end)
    metrics = await repository.sending(session, service, *span, MOST_SIGNALS)
    points = await reading.points(session, [each for found in metrics.values() for each in found], *span)
    series, judged = await offload.in_thread(_judged, metrics, points, grid, before)
    return _response(service, series, judged, grid, before)


def _judged(
    metrics: Mapping[str, Sequence[SignalInfo]], points: Points, grid: Grid, before: int
) -> tuple[list[Series], Judged]:
    series = list(panel(metrics, points, grid))
    return series, rules.judge(series, before) if series else Judged(np.full(grid.count, np.nan), [])


def _response(service: str, series: Sequence[Series], judged: Judged, grid: Grid, before: int) -> GroupScores:
    ends, score = grid.ends[before:].tolist(), judged.score[before:].tolist()
    return GroupScores(
        service=service,
        start=moment(grid.start + before * grid.step),
        end=moment(grid.end),
        step_seconds=grid.step / 1e6,
        series=[_series(each) for each in series],
        points=[
            GroupPoint(time=moment(time), score=value)
            for time, value in zip(ends, score, strict=True)
            if isfinite(value)
        ],
        alarms=[_alarm(each, series, grid) for each in judged.alarms],
    )


def _series(series: Series) -> GroupSeries:
    return GroupSeries(metric=series.metric, aggregation=series.aggregation, unit=series.unit)


def _alarm(found: Found, series: Sequence[Series], grid: Grid) -> GroupAlarm:
    onset, end, peak = (moment(int(grid.ends[place])) for place in (found.first, found.last, found.peak))
    parts = [_part(each, series[each.series]) for each in found.parts]
    return GroupAlarm(onset=onset, end=end, peak_at=peak, score=found.score, parts=parts)


def _part(part: Part, series: Series) -> GroupPart:
    value, usual = (each if isfinite(each) else None for each in (part.value, part.usual))
    return GroupPart(**_series(series).model_dump(), share=part.share, value=value, usual=usual)
