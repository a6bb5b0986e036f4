"""The reading part of an evaluation: what is new since the last one, for one requirement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection import alarm, univariate
from plumbline_analysis.models import TrackedObjective, WatchedRequirement
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure, repository, rules
from plumbline_analysis.objectives.judge import Watch
from plumbline_analysis.objectives.repository import Indicator
from plumbline_analysis.objectives.rules import SECOND, Counts
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository as signals
from plumbline_common.schemas import Slo

MAX_SLICES = 1_000
"""Older history is taken in over several evaluations."""
_POINTS = 100_000


@dataclass(frozen=True)
class SloWork:
    """One SLO: what is stored of it, and what there is to measure. Sequences go by objective.

    `continued` are the stored rows whose counting goes on, None where it begins anew; `before` the running totals
    where each grid begins.
    """

    slo: Slo
    identity: bytes
    indicator: Indicator | None
    stored: Sequence[TrackedObjective | None]
    continued: Sequence[TrackedObjective | None]
    before: Sequence[Counts]
    request: measure.Request
    watch: Watch

    @property
    def matched(self) -> list[SignalInfo]:
        return list(self.request.points.signals.values())


@dataclass(frozen=True)
class Work:
    """One requirement. `until` is where this evaluation ends, in microseconds; `behind` whether more is to come."""

    requirement: WatchedRequirement
    until: int
    behind: bool
    slos: Sequence[SloWork]
    outdated: Sequence[Indicator]
    """Indicators that are still watched but that no SLO names any more."""


async def gather(
    session: AsyncSession, requirement: WatchedRequirement, now: datetime, settings: Settings
) -> Work | None:
    """What to judge of a requirement; None where nothing is new."""
    step = settings.evaluation_interval_seconds * SECOND
    until = (micros(now) - int(settings.settle_seconds * SECOND)) // step * step
    tracked = await repository.tracked(session, requirement.id)
    known = {each.identity: each for each in await repository.indicators(session, requirement.id)}
    slos = [Slo.model_validate(slo) for slo in requirement.slos]
    works = [await _slo(session, requirement, slo, tracked, known, until, settings) for slo in slos]
    if not any(grid.count for work in works for grid in (*work.request.grids, work.request.watched)):
        return None
    named = {work.identity for work in works}
    return Work(
        requirement=requirement,
        until=until,
        behind=any(
            _end(grid) + grid.step <= until for work in works for grid in (*work.request.grids, work.request.watched)
        ),
        slos=works,
        outdated=[each for each in known.values() if each.detector is not None and each.identity not in named],
    )


def _end(grid: Grid) -> int:
    return grid.start + grid.step * grid.count


async def _slo(
    session: AsyncSession,
    requirement: WatchedRequirement,
    slo: Slo,
    tracked: dict[tuple[str, int], TrackedObjective],
    known: dict[bytes, Indicator],
    until: int,
    settings: Settings,
) -> SloWork:
    seconds = settings.evaluation_interval_seconds
    matched = {}
    for role, query in measure.queries(slo).items():
        attributes = orjson.dumps(query.attributes).decode()
        matched[role] = await signals.matching(session, query.metric, attributes)
    distinct = list({signal.number: signal for found in matched.values() for signal in found}.values())
    most = max(1, min(MAX_SLICES, _POINTS // max(1, len(distinct))))
    window = rules.seconds(slo.time_window[0].duration)
    origin = until - int(min(window, settings.backfill_seconds)) * SECOND

    stored = [tracked.get((slo.name, index)) for index in range(len(slo.objectives))]
    continued = [
        row if row is not None and row.definition == measure.definition(slo, objective, seconds) else None
        for row, objective in zip(stored, slo.objectives, strict=True)
    ]
    late = int(settings.lateness_seconds * SECOND)
    grids = [
        _grid(
            micros(row.evaluated_to) if row is not None else origin,
            until,
            measure.slice_seconds(slo, objective, seconds) * SECOND,
            most,
            late if row is not None else 0,
        )
        for row, objective in zip(continued, slo.objectives, strict=True)
    ]
    identity = measure.indicator_identity(requirement.id, slo)
    indicator = known.get(identity)
    detector = indicator.detector if indicator is not None else None
    watched = _grid(micros(detector.evaluated_to) if detector else origin, until, seconds * SECOND, most)

    after = min(grid.start for grid in (*grids, watched))
    before_until = max(_end(grid) for grid in (*grids, watched))
    return SloWork(
        slo=slo,
        identity=identity,
        indicator=indicator,
        stored=stored,
        continued=continued,
        before=await _before(session, continued, grids),
        request=measure.Request(
            slo=slo,
            grids=grids,
            watched=watched,
            step=seconds * SECOND,
            signals=matched,
            points=await signals.points(session, distinct, moment(after), moment(before_until)),
            least=settings.quantile_observations,
        ),
        watch=_watch(indicator, until),
    )


def _grid(done: int, until: int, step: int, most: int, late: int = 0) -> Grid:
    """Of what is not done at most so many slices, and again those of the last `late` microseconds that are."""
    start = (done - late) // step * step
    end = done // step * step + most * step
    return Grid(start, step, max(0, (min(until, end) - start) // step))


async def _before(
    session: AsyncSession, continued: Sequence[TrackedObjective | None], grids: Sequence[Grid]
) -> list[Counts]:
    asked = [(row.number, moment(grid.start)) for row, grid in zip(continued, grids, strict=True) if row is not None]
    found = iter(await repository.running_totals(session, asked))
    return [Counts(0, 0) if row is None else next(found) for row in continued]


def _watch(indicator: Indicator | None, until: int) -> Watch:
    detector = indicator.detector if indicator is not None else None
    if detector is None:
        return Watch(univariate.NEW, alarm.QUIET, until)
    try:
        state = univariate.State.from_bytes(detector.state)
    except ValueError:
        state = univariate.NEW  # of an older version: it learns anew
    return Watch(state, alarm.Alarm.from_json(detector.alarm), micros(detector.watching_since))
