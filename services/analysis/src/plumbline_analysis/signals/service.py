"""Reading signals and their series."""

from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Signal
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.signals import repository, rules
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


async def series(
    session: AsyncSession,
    id: UUID,
    start: datetime | None,
    end: datetime | None,
    step_seconds: int | None,
    asked: Aggregation | None,
    native_seconds: int,
) -> SeriesResponse:
    """The values of a signal in equal slices; an indicator's with the band and score that its detector gave."""
    return await series_of(
        session, await repository.one(session, id), start, end, step_seconds, asked, native_seconds
    )


async def series_of(
    session: AsyncSession,
    signal: Signal,
    start: datetime | None,
    end: datetime | None,
    step_seconds: int | None,
    asked: Aggregation | None,
    native_seconds: int,
) -> SeriesResponse:
    """`series` of a signal that was read."""
    info = repository.info(signal)
    aggregation = rules.aggregation(info, signal.aggregation, asked)
    after, until = asked_range(start, end)
    grid = rules.grid(micros(after), micros(until), step_seconds, native_seconds)
    if info.kind is Kind.INDICATOR:
        points = await _judged(session, signal.number, grid)
    else:
        together = await repository.with_siblings(session, info)
        stored = await repository.points(session, together, moment(grid.start), moment(int(grid.ends[-1])))
        points = await offload.in_thread(_derived, stored, grid, cast("Aggregation", aggregation))
    return SeriesResponse(
        signal_id=signal.id,
        metric=signal.metric,
        unit=signal.unit,
        aggregation=aggregation,
        start=moment(grid.start),
        end=moment(int(grid.ends[-1])),
        step_seconds=grid.step / 1e6,
        points=points,
    )


def _derived(stored: Points, grid: Grid, aggregation: Aggregation) -> list[SeriesPoint]:
    values = derived.values(stored, grid, aggregation, None)
    known = np.flatnonzero(np.isfinite(values))
    return [
        SeriesPoint(time=moment(time), value=value)
        for time, value in zip(grid.ends[known].tolist(), values[known].tolist(), strict=True)
    ]


async def _judged(session: AsyncSession, number: int, grid: Grid) -> list[SeriesPoint]:
    rows = await repository.detections(session, number, grid)
    return [SeriesPoint.model_validate(row) for row in rows]
