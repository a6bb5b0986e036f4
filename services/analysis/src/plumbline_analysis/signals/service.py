"""Reading signals and their series."""

from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Signal
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.points import reading
from plumbline_analysis.rollups import rules as retention
from plumbline_analysis.rollups import service as rollups
from plumbline_analysis.rollups.rules import Level
from plumbline_analysis.rollups.service import Parts
from plumbline_analysis.series import lttb
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository, rules
from plumbline_analysis.signals.rules import Question
from plumbline_analysis.signals.schemas import SeriesPoint, SeriesResponse, SignalPage, SignalResponse
from plumbline_analysis.sources.batch import Kind
from plumbline_common import offload
from plumbline_common.schemas import Aggregation


async def page(session: AsyncSession, metric: str | None, service: str | None, skip: int, limit: int) -> SignalPage:
    found, total = await repository.page(session, metric, service, skip, limit)
    seen = await repository.latest_points(session, [signal.number for signal in found])
    return SignalPage(items=[_response(signal, seen.get(signal.number)) for signal in found], total=total)


async def one(session: AsyncSession, id: UUID) -> SignalResponse:
    signal = await repository.one(session, id)
    seen = await repository.latest_points(session, [signal.number])
    return _response(signal, seen.get(signal.number))


def _response(signal: Signal, last_seen: datetime | None) -> SignalResponse:
    members = {name: getattr(signal, name) for name in SignalResponse.model_fields if name != "last_seen"}
    return SignalResponse(**members, last_seen=last_seen)


def asked_range(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The last hour where a question names no range. Raises `Invalid`."""
    return rules.asked_range(start, end, datetime.now(UTC))


async def series(session: AsyncSession, id: UUID, question: Question, settings: Settings) -> SeriesResponse:
    """The values of a signal in equal slices; an indicator's with the band and score that its detector gave."""
    return await series_of(session, await repository.one(session, id), question, settings)


async def series_of(session: AsyncSession, signal: Signal, question: Question, settings: Settings) -> SeriesResponse:
    """`series` of a signal that was read."""
    info = reading.info(signal)
    aggregation = rules.aggregation(info, signal.aggregation, question.aggregation)
    grid, level = _slices(info, question, settings)
    if info.kind is Kind.INDICATOR:
        points = await _judged(session, signal.number, grid, level, question.max_points)
    else:
        together = await repository.with_siblings(session, info)
        stored = await rollups.parts(session, together, grid, level)
        points = await offload.in_thread(
            _derived, stored, grid, cast("Aggregation", aggregation), question.max_points
        )
    return SeriesResponse(
        signal_id=signal.id,
        metric=signal.metric,
        unit=signal.unit,
        aggregation=aggregation,
        start=moment(grid.start),
        end=moment(grid.end),
        step_seconds=grid.step / 1e6,
        points=points,
    )


def _slices(info: SignalInfo, question: Question, settings: Settings) -> tuple[Grid, Level | None]:
    """The slices that are meant, and the rollups that they are made of."""
    after, until = asked_range(question.start, question.end)
    kept = retention.kept(settings, datetime.now(UTC))
    grid = rules.grid(
        micros(after),
        micros(until),
        question.step_seconds,
        settings.evaluation_interval_seconds,
        wanted=rules.wanted_slices(info, question),
        most=rules.most_slices(info, question),
        least_seconds=retention.coarsest_needed(micros(after), kept),
    )
    # The buckets of a classic histogram make one only where all points of a scrape are there.
    return grid, None if info.kind is Kind.BUCKET else retention.level(grid, kept)


def _derived(stored: Parts, grid: Grid, aggregation: Aggregation, max_points: int | None) -> list[SeriesPoint]:
    values = rollups.values(stored, grid, aggregation)
    known = np.flatnonzero(np.isfinite(values))
    time, value = grid.ends[known], values[known]
    if max_points is not None:
        drawn = lttb.chosen((time - grid.start).astype(np.float64), value, max_points)
        time, value = time[drawn], value[drawn]
    return [SeriesPoint(time=moment(at), value=each) for at, each in zip(time.tolist(), value.tolist(), strict=True)]


async def _judged(
    session: AsyncSession, number: int, grid: Grid, level: Level | None, max_points: int | None
) -> list[SeriesPoint]:
    rows = await rollups.detections(session, number, grid, level)
    if max_points is not None:
        time = np.array([micros(row.time) - grid.start for row in rows], np.float64)
        drawn = lttb.chosen(time, np.array([row.value for row in rows], np.float64), max_points)
        rows = [rows[place] for place in drawn.tolist()]
    return [SeriesPoint.model_validate(row) for row in rows]
