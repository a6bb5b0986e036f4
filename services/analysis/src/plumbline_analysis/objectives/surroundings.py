"""What else happened when an anomaly began: what was deployed before, which series of its service moved with it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies.service import Surroundings
from plumbline_analysis.deployments import repository as deployments
from plumbline_analysis.detection.alarm import Change
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.gather import SloWork, Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.panel import panel
from plumbline_analysis.series.shifts import shift
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository as signals
from plumbline_common import db, offload
from plumbline_common.errors import Invalid
from plumbline_common.schemas import MovedSeries, PrecedingDeployment

log = logging.getLogger(__name__)

BEFORE = timedelta(minutes=15)
"""What was usual before the onset is learned from so much."""
MOST_SIGNALS = 200
"""So many signals of a service are looked at, whole metrics only."""
TOLD = 5
SLICES = 400
"""An anomaly that went on for longer is looked at in longer slices."""


@dataclass(frozen=True)
class _Onset:
    """Where an anomaly of a service's series begins, the series itself, and until when there is data."""

    identity: bytes
    service: str
    series: tuple[str, str]
    onset: int
    until: int
    step: int

    @property
    def grid(self) -> Grid:
        """Slices with a bound at the onset: a slice is named by its end, and the first one outside ends there."""
        step = self.step * max(1, -(-(self.until - self.onset) // (self.step * SLICES)))
        before = int(BEFORE / timedelta(microseconds=step))
        start = self.onset - self.step - before * step
        return Grid(start, step, (self.until - start) // step)

    @property
    def split(self) -> int:
        """The first slice of the anomaly."""
        return (self.onset - self.step - self.grid.start) // self.grid.step


async def gather(
    sessions: db.Sessions, works: Sequence[Work], judged: Sequence[Sequence[Judged]], settings: Settings
) -> dict[bytes, Surroundings]:
    """What surrounds the anomalies that have begun or ended, by the identity of their indicators."""
    onsets = [
        found
        for work, results in zip(works, judged, strict=True)
        for slo, result in zip(work.slos, results, strict=True)
        if (found := _onset(work, slo, result)) is not None
    ]
    within = timedelta(seconds=settings.deployment_window_seconds)
    around = {}
    for each in onsets:
        async with sessions() as session:
            deployed = await deployments.before(session, [each.service], moment(each.onset), within)
            moved = await _moved(session, each)
        around[each.identity] = Surroundings(moved, [PrecedingDeployment.model_validate(one) for one in deployed])
    return around


async def _moved(session: AsyncSession, onset: _Onset) -> list[MovedSeries]:
    grid = onset.grid
    span = moment(grid.start), moment(grid.end)
    try:
        metrics = await signals.sending(session, onset.service, *span, MOST_SIGNALS)
        points = await reading.points(session, [each for found in metrics.values() for each in found], *span)
    except Invalid as error:
        log.info("what moved with an anomaly of %s is not looked at: %s", onset.service, error)
        return []
    return await offload.in_thread(moved, onset.series, metrics, points, grid, onset.split)


def _onset(work: Work, slo: SloWork, judged: Judged) -> _Onset | None:
    service = measure.service(slo.plan.part, work.requirement.service)
    told = [alarm for change, alarm in judged.changes if change is not Change.WORSENED]
    if service is None or not told:
        return None
    part, grid = slo.plan.part, judged.grid
    series = measure.subject(part).metric, measure.aggregation(part)
    return _Onset(slo.plan.identity, service, series, told[-1].onset, grid.end, grid.step)


def moved(
    series: tuple[str, str], metrics: Mapping[str, Sequence[SignalInfo]], points: Points, grid: Grid, split: int
) -> list[MovedSeries]:
    """Of the metrics' series those that moved with slice `split`, the most first; but not the `series` itself (metric
    and aggregation). O(points)."""
    found = []
    for each in panel(metrics, points, grid):
        if (each.metric, each.aggregation) == series:
            continue
        if (change := shift(each.values, split)) is not None:
            found.append(
                MovedSeries(
                    metric=each.metric,
                    aggregation=each.aggregation,
                    unit=each.unit,
                    before=change.before,
                    after=change.after,
                    deviations=change.deviations,
                )
            )
    return sorted(found, key=lambda each: -each.deviations)[:TOLD]
