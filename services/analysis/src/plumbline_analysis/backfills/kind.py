"""Backfills as a kind of job: what each step reads, and what it stores."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.backfills import repository
from plumbline_analysis.backfills.progress import InHand, Place
from plumbline_analysis.backfills.run import Found, Inputs, Slices, meets, run
from plumbline_analysis.backfills.schemas import BackfillParameters
from plumbline_analysis.detectors import repository as detectors
from plumbline_analysis.detectors import service as detector_service
from plumbline_analysis.jobs.kind import Stepwise
from plumbline_analysis.models import Job
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure, watching
from plumbline_analysis.objectives.gather import looked_up
from plumbline_analysis.objectives.rules import SECOND
from plumbline_analysis.points import late, reading
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository as signals
from plumbline_common import outbox
from plumbline_common.errors import Conflict, NotFound

LEARN = 86_400 * SECOND
"""So long before a range the engine begins to learn, where there are points."""
_SLICES = 4_000
_POINTS = 40_000
"""About so many points a step, of which there may be some in each slice; those of histograms weigh eight times."""
_HISTOGRAM = 8


async def gather(
    session: AsyncSession, asked: BackfillParameters, checkpoint: bytes | None, settings: Settings
) -> Inputs:
    """The next slices of the signal that is in hand. Raises `Invalid` where they hold too many points."""
    place = Place.from_bytes(checkpoint)
    signal_id = asked.signal_ids[len(place.done)]
    inputs = Inputs(place, len(asked.signal_ids), signal_id, None)
    try:
        found = await detectors.find(session, signal_id)
        part = detector_service.part_of(found)
    except (NotFound, Conflict) as gone:
        return replace(inputs, skipped=gone.detail)
    matching = await signals.matching(session, {looked_up(query) for query in part.queries.values()})
    roles = {role: matching[looked_up(query)] for role, query in part.queries.items()}
    matched = list({signal.number: signal for each in roles.values() for signal in each}.values())
    step = settings.evaluation_interval_seconds * SECOND
    in_hand = place.in_hand or await _begun(session, asked, found, matched, step, settings)
    if in_hand is None:
        return replace(inputs, skipped="no points are stored of that time, up to where the detector has come")
    grid = Grid(in_hand.reached, step, min(_most(matched), (in_hand.end - in_hand.reached) // step))
    points = await reading.points(session, matched, moment(grid.start), moment(grid.end))
    request = measure.Request(
        part=part,
        grids=[Grid(grid.start, step, 0)] * len(part.slo.objectives),
        watched=grid,
        step=step,
        signals=roles,
        points=points,
        least=settings.quantile_observations,
    )
    since = in_hand.alarm.onset if in_hand.alarm.open or in_hand.alarm.over else grid.start
    slices = Slices(
        found.signal,
        watching.subject(found.requirement, part, found.unit),
        request,
        found.bar,
        await repository.scored(session, found.signal, grid.start, grid.end),
        await repository.anomalies(session, signal_id, since, grid.end),
        micros(found.detector.watching_since),
    )
    return replace(inputs, place=replace(place, in_hand=in_hand), next=slices)


async def _begun(
    session: AsyncSession,
    asked: BackfillParameters,
    found: detectors.Found,
    matched: list[SignalInfo],
    step: int,
    settings: Settings,
) -> InHand | None:
    """Where the history of a signal begins and ends: at the latest where its detector has come to, which goes on by
    itself. None where there is nothing between."""
    kept = micros(asked.asked_at) - int(timedelta(days=settings.retention_days).total_seconds()) * SECOND
    wanted = max(kept, micros(asked.start)) if asked.start else kept
    first = await repository.first_point(session, [each.number for each in matched], moment(wanted - LEARN))
    if first is None:
        return None
    come_to = micros(found.detector.evaluated_to)
    end = (min(micros(asked.end), come_to) if asked.end else come_to) // step * step
    reached = max(wanted - LEARN, micros(first) - 1) // step * step
    start = max(wanted // step * step, reached)
    return InHand(start, end, reached) if start < end else None


def _most(matched: list[SignalInfo]) -> int:
    """So many slices a step."""
    weight = sum(_HISTOGRAM if each.is_histogram else 1 for each in matched)
    return max(1, min(_SLICES, _POINTS // max(1, weight)))


async def store(session: AsyncSession, job: Job, found: Found | None) -> None:
    if found is None:
        return
    # Against another backfill of the signal: what it stored since the reading is known now.
    await detectors.lock(session, found.number)
    await repository.save(session, found.number, found.said)
    times = np.array([at for at, _, _ in found.said], np.int64)
    await late.mark(session, np.full(len(times), found.number, np.int64), times)
    if found.alarms:
        known = await repository.anomalies(
            session, found.signal_id, found.alarms[0].onset, max(each.last for each in found.alarms)
        )
        for alarm in found.alarms:
            if not meets(alarm, known):
                told = await anomalies.found_in_history(session, found.signal_id, found.subject, alarm, job.id)
                await outbox.stage(session, told)
    if found.reached is not None:
        await repository.mark(session, found.number, *map(moment, found.reached))


BACKFILL = Stepwise("backfill", BackfillParameters, gather, run, store)
