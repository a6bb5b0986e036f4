"""Backtests as a kind of job: what they read."""

from datetime import timedelta
from typing import cast

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.backtests.run import Inputs, Series, Stored, Truth, Truths, run
from plumbline_analysis.backtests.schemas import DAYS, BacktestParameters, BacktestPoint
from plumbline_analysis.detectors import repository as detectors
from plumbline_analysis.jobs.kind import Kind
from plumbline_analysis.models import Signal
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives.rules import SECOND
from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import history
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.signals.rules import aggregation
from plumbline_analysis.sources.batch import Kind as SignalKind
from plumbline_analysis.sources.batch import Temporality
from plumbline_common.schemas import Aggregation, Label

_SENT = SignalInfo(0, "", SignalKind.GAUGE, Temporality.NONE, False)


async def gather(session: AsyncSession, asked: BacktestParameters, settings: Settings) -> Inputs:
    """Raises `NotFound` where the signal is gone, `Invalid` where it has too many points."""
    signal = await signals.one(session, asked.signal_id)
    if asked.points is not None:
        found: Series | Stored = _sent(asked.points, asked.step_seconds)
    else:
        found = await _stored(session, signal, asked, settings)
    if asked.windows is not None:
        windows = [Truth(micros(each.start), micros(each.end), wrong=True) for each in asked.windows]
        return Inputs(found, asked.detectors, Truths("windows", windows))
    labelled = await detectors.labelled(session, asked.signal_id, moment(found.start))
    known = [Truth(each.onset, each.end, each.label is Label.TRUE_POSITIVE) for each in labelled]
    within = [each for each in known if each.start <= found.end]
    return Inputs(found, asked.detectors, Truths("feedback", within))


def _sent(points: list[BacktestPoint], step_seconds: int | None) -> Stored:
    """A gauge of a signal that is nobody's."""
    time = np.array([micros(point.time) for point in points], np.int64)
    value = np.array([point.value for point in points], np.float64)
    zeros = np.zeros(len(time), np.int64)
    own = Points({0: _SENT}, zeros, time, zeros, value)
    step = step_seconds and step_seconds * SECOND
    return Stored(int(time.min()) - 1, int(time.max()), step, SECOND, "mean", own)


async def _stored(
    session: AsyncSession, signal: Signal, asked: BacktestParameters, settings: Settings
) -> Series | Stored:
    end = asked.end or asked.asked_at
    start = asked.start or end - timedelta(days=DAYS)
    least = settings.evaluation_interval_seconds * SECOND
    info = reading.info(signal)
    if info.kind is SignalKind.INDICATOR:
        values = await detectors.history(session, signal.number, start, end, least)
        return Series(micros(start), micros(end), least, values.time, values.value)
    together = await signals.with_siblings(session, info)
    points = await history.points(session, together, start, end, settings.job_points)
    step = asked.step_seconds and asked.step_seconds * SECOND
    way = cast("Aggregation", aggregation(info, signal.aggregation, asked.aggregation))
    return Stored(micros(start), micros(end), step, least, way, points)


BACKTEST = Kind("backtest", BacktestParameters, gather, run)
