"""Rolling points up, an hour of some signals at a time, and reading series from what is rolled up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Signal
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.points import late as lateness
from plumbline_analysis.points import reading
from plumbline_analysis.points import repository as points_repository
from plumbline_analysis.rollups import repository, rules
from plumbline_analysis.rollups.repository import Late
from plumbline_analysis.rollups.rules import HOUR, MINUTE, Level
from plumbline_analysis.series import derived, rolled
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.rolled import Rolled, RolledHistograms
from plumbline_analysis.series.slices import Float64, Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources.batch import Kind
from plumbline_common.errors import Conflict
from plumbline_common.schemas import Aggregation

LOOKBACK = timedelta(days=1)
"""A cumulative stream that was silent for longer begins anew."""
SIGNALS = 100
"""So many are rolled up in one transaction."""
_HOUR = timedelta(hours=1)


class Overtaken(Conflict):
    slug = "overtaken"
    title = "Another process did the same work first"


@dataclass(frozen=True)
class Work:
    """An hour of some signals to be rolled up, with its points.

    `progress` is what is done before and after it, None where it is done again for `late` points; `following` are the
    hours whose first point follows a late one.
    """

    hour: datetime
    signals: Sequence[Signal]
    points: Points
    progress: tuple[tuple[datetime, int], tuple[datetime, int]] | None
    late: Late | None
    following: Sequence[tuple[int, datetime]]


@dataclass(frozen=True)
class Found:
    """What a piece of work comes to, of each level."""

    numbers: Sequence[tuple[Level, Rolled]]
    histograms: Sequence[tuple[Level, Sequence[RolledHistograms]]]


async def begin(session: AsyncSession, settings: Settings, now: datetime) -> None:
    """Set the point from which on everything is rolled up, unless it is set."""
    past = timedelta(hours=settings.past_limit_hours)
    await repository.begin(session, rules.kept(settings, now).points, past)


async def next_work(session: AsyncSession, settings: Settings, now: datetime) -> Work | None:
    """The next hour that is over, or else one that got late points; None where nothing is to be done."""
    progress = await repository.progress(session)
    if progress is None:
        return None
    done = (progress.rolled_to, progress.signal)
    hour = progress.rolled_to + _HOUR
    if hour + lateness.SETTLE <= await repository.settled(session):
        some = await repository.some_signals(session, progress.signal, SIGNALS)
        then = (progress.rolled_to, some[-1].number) if len(some) == SIGNALS else (hour, 0)
        return Work(hour, some, await _points(session, some, hour), (done, then), None, ())
    late = await repository.late(session, complete_since(settings, now), progress.rolled_to, SIGNALS)
    if late is None:
        return None
    points = await _points(session, late.signals, late.hour)
    return Work(late.hour, late.signals, points, None, late, await _following(session, late, points))


def complete_since(settings: Settings, now: datetime) -> datetime:
    """From when on an hour can be rolled up again: its points are there, and those before it."""
    return rules.kept(settings, now).points + LOOKBACK + timedelta(days=1)


async def _points(session: AsyncSession, some: Sequence[Signal], hour: datetime) -> Points:
    infos = [reading.info(each) for each in some if each.kind not in (Kind.INDICATOR, Kind.BUCKET)]
    return await reading.all_points(session, infos, hour - _HOUR, hour, LOOKBACK)


async def _following(session: AsyncSession, late: Late, points: Points) -> list[tuple[int, datetime]]:
    """The hours after this one that hold a point whose predecessor may have come late."""
    until = late.hour + LOOKBACK
    of = points.of([signal for signal in points.signals.values() if signal.number in late.leads])
    infos = list(of.signals.values())
    streams = reading.streams(infos, of.signal, of.start)
    found = await repository.following(session, "number_points", streams, late.hour, until)
    signal, start = ([getattr(point, name) for point in of.histograms] for name in ("signal", "start"))
    streams = reading.streams(infos, np.array(signal, np.int64), np.array(start, np.int64))
    found += await repository.following(session, "histogram_points", streams, late.hour, until)
    ends = lateness.hour_ends(np.array([micros(time) for _, time in found], np.int64)).tolist()
    return sorted({(signal, moment(end)) for (signal, _), end in zip(found, ends, strict=True)})


def roll(work: Work) -> Found:
    """CPU-bound: of numbers about 1 us a point, of histograms 30."""
    after = micros(work.hour - _HOUR)
    minutes = _after(rolled.rolled(derived.samples(work.points), MINUTE.step), after)
    added = [each for each in work.points.added if each.point.time > after]
    histograms = rolled.rolled_histograms(added, MINUTE.step)
    return Found(
        [(MINUTE, minutes), (HOUR, rolled.merged(minutes, HOUR.step))],
        [(MINUTE, histograms), (HOUR, rolled.merged_histograms(histograms, HOUR.step))],
    )


async def save(session: AsyncSession, work: Work, found: Found) -> None:
    """Store what was rolled up, in the caller's transaction. Raises `Overtaken`."""
    if work.progress is not None and not await repository.advance(session, *work.progress):
        raise Overtaken("the hour was rolled up meanwhile")
    if work.late is not None:
        if not await repository.settle_late(session, work.late.ids):
            raise Overtaken("the late points were rolled up meanwhile")
        await repository.clear(session, [each.number for each in work.signals], work.hour)
    layouts = {each.layout for _, parts in found.histograms for each in parts}
    numbers = (await points_repository.layouts(session, layouts))[0] if layouts else {}
    for level, rows in found.numbers:
        await repository.save_numbers(session, level, rows)
    for level, histograms in found.histograms:
        await repository.save_histograms(session, level, histograms, numbers)
    indicators = [each.number for each in work.signals if each.kind == Kind.INDICATOR]
    if indicators:
        await repository.save_detections(session, indicators, work.hour)
    await lateness.add(
        session, [signal for signal, _ in work.following], [hour for _, hour in work.following], is_next=True
    )


async def forget_late(session: AsyncSession, settings: Settings, now: datetime) -> None:
    await repository.forget_late(session, complete_since(settings, now))


# --- Reading --------------------------------------------------------------------------------------------


async def rolled_to(session: AsyncSession) -> int:
    """Up to where everything is rolled up, in microseconds; 0 where nothing is."""
    progress = await repository.progress(session)
    return 0 if progress is None else micros(progress.rolled_to)


@dataclass(frozen=True)
class Parts:
    """What slices of a signal are made of: rollups up to `rolled_to`, and the points after it."""

    level: Level | None
    rolled_to: int
    numbers: Sequence[Rolled]
    histograms: Sequence[RolledHistograms]
    points: Points


async def parts(session: AsyncSession, signals: Sequence[SignalInfo], grid: Grid, level: Level | None) -> Parts:
    """What the slices of the grid are made of; of points alone without a level. Raises `Invalid` for too many.

    `signals` are one, or all buckets of a classic histogram, which has no rollups.
    """
    signal = signals[0]
    until = grid.start
    numbers, histograms = [], []
    if level is not None and (until := min(max(await rolled_to(session), grid.start), grid.end)) > grid.start:
        span = (moment(grid.start), moment(until))
        if signal.is_histogram:
            histograms = await repository.histograms(session, level, signal.number, *span)
        else:
            numbers = [await repository.numbers(session, level, signal.number, *span)]
    points = Points({signal.number: signal})
    if until < grid.end:
        points = await reading.points(session, signals, moment(until), moment(grid.end), LOOKBACK)
    return Parts(level, until, numbers, histograms, points)


def values(found: Parts, grid: Grid, aggregation: Aggregation) -> Float64:
    """One number a slice of the grid, NaN where there is none; CPU-bound."""
    if found.rolled_to == grid.start:
        return derived.values(found.points, grid, aggregation, None)
    step = found.level.step if found.level is not None else grid.step
    (signal,) = found.points.signals.values()
    if signal.is_histogram:
        added = [each for each in found.points.added if each.point.time > found.rolled_to]
        tail = rolled.rolled_histograms(added, step)
        return rolled.histogram_values([*found.histograms, *tail], grid, aggregation)
    newest = _after(rolled.rolled(derived.samples(found.points), step), found.rolled_to)
    return rolled.values(rolled.joined([*found.numbers, newest]), grid, aggregation, counter=signal.is_counter)


async def detections(session: AsyncSession, number: int, grid: Grid, level: Level | None) -> Sequence[Row[Any]]:
    """What the detector said in each slice: mean value, whole band, worst score."""
    if level is None:
        return await repository.all_detections(session, number, grid)
    return await repository.detections(session, level, number, grid, moment(await rolled_to(session)))


def _after(parts: Rolled, time: int) -> Rolled:
    return parts.rows(np.flatnonzero(parts.time > time))
