"""What-ifs as a kind of job: what they read."""

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs.kind import Kind
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.gather import looked_up
from plumbline_analysis.objectives.measure import Part
from plumbline_analysis.objectives.rules import SECOND
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import history
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.what_if.run import Inputs, Limits, run
from plumbline_analysis.what_if.schemas import DAYS, WhatIfParameters


async def gather(session: AsyncSession, asked: WhatIfParameters, settings: Settings) -> Inputs:
    """Raises `Invalid` where the SLO means too many points."""
    step = settings.evaluation_interval_seconds
    end = micros(asked.end or asked.asked_at) // (step * SECOND) * step * SECOND
    start = micros(asked.start) if asked.start else end - DAYS * 86_400 * SECOND
    parts, lacking = measure.parts(asked.slo)
    requests = [await _request(session, part, start, end, settings) for part in parts]
    limits = Limits(
        step,
        settings.short_floor_seconds,
        settings.long_floor_seconds,
        settings.minimum_events,
        settings.minimum_slices,
        settings.hold_evaluations,
    )
    return Inputs(start, end, requests, lacking, limits)


async def _request(session: AsyncSession, part: Part, start: int, end: int, settings: Settings) -> measure.Request:
    matching = await signals.matching(session, {looked_up(query) for query in part.queries.values()})
    found = {role: matching[looked_up(query)] for role, query in part.queries.items()}
    own = list({signal.number: signal for each in found.values() for signal in each}.values())
    grids = []
    for objective in part.slo.objectives:
        length = measure.slice_seconds(part.slo, objective, settings.evaluation_interval_seconds) * SECOND
        first = start // length * length
        grids.append(Grid(first, length, max(0, (end - first) // length)))
    begin = moment(min(grid.start for grid in grids))
    points = await history.points(session, own, begin, moment(end), settings.job_points)
    return measure.Request(
        part=part,
        grids=grids,
        watched=Grid(end, settings.evaluation_interval_seconds * SECOND, 0),
        step=settings.evaluation_interval_seconds * SECOND,
        signals=found,
        points=points,
        least=settings.quantile_observations,
    )


WHAT_IF = Kind("what_if", WhatIfParameters, gather, run)
