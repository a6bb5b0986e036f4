"""The reading part of an evaluation: what is new since the last one, for many requirements in a few statements."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection import alarm
from plumbline_analysis.models import TrackedObjective, WatchedRequirement
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure, repository, windows
from plumbline_analysis.objectives.judge import Watch
from plumbline_analysis.objectives.measure import Part, Unmeasured
from plumbline_analysis.objectives.repository import Indicator
from plumbline_analysis.objectives.rules import SECOND, Counts
from plumbline_analysis.points import arrivals, reading
from plumbline_analysis.points.arrivals import News
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.verdicts import repository as verdicts
from plumbline_common.schemas import SignalQuery, Slo

log = logging.getLogger(__name__)

MAX_SLICES = 1_000
"""Older history is taken in over several evaluations."""
_POINTS = 40_000
"""So many points are expected at the most, one of each signal in each slice."""

Tracked = Mapping[tuple[UUID, str, int], TrackedObjective]
Matching = Mapping[tuple[str, str], list[SignalInfo]]


@dataclass(frozen=True)
class Plan:
    """One part of an SLO: what is stored of it, and what there is to measure. Sequences go by objective.

    `continued` are the stored rows whose counting goes on, None where it begins anew.
    """

    part: Part
    identity: bytes
    indicator: Indicator | None
    definitions: Sequence[bytes]
    stored: Sequence[TrackedObjective | None]
    continued: Sequence[TrackedObjective | None]
    grids: Sequence[Grid]
    watched: Grid
    signals: Mapping[str, Sequence[SignalInfo]]

    @property
    def matched(self) -> list[SignalInfo]:
        """Every signal that the SLO means, once."""
        return list({signal.number: signal for found in self.signals.values() for signal in found}.values())

    @property
    def span(self) -> tuple[int, int]:
        """The time that the slices cover, in microseconds."""
        grids = (*self.grids, self.watched)
        return min(grid.start for grid in grids), max(grid.end for grid in grids)


@dataclass(frozen=True)
class SloWork:
    """A plan with what it needs: `before`, the running totals where each grid begins, and the points."""

    plan: Plan
    before: Sequence[Counts]
    request: measure.Request
    watch: Watch


@dataclass(frozen=True)
class Work:
    """One requirement. `until` is where this evaluation ends, in microseconds; `behind` whether more is to come."""

    requirement: WatchedRequirement
    until: int
    behind: bool
    slos: Sequence[SloWork]
    outdated: Sequence[Indicator]
    """Indicators that are still watched but that no SLO names any more."""
    dropped: Sequence[int]
    """Objectives that are still tracked but that no SLO has any more."""
    unmeasured: Sequence[Unmeasured]


@dataclass(frozen=True)
class Late:
    """What has to be judged again: what came after `since`, all of late where that is not known, and the points of
    signals from the oldest of them on (microseconds). `most` slices of each."""

    since: datetime | None
    oldest: Mapping[int, int]
    most: int

    def after(self, signals: Iterable[int], done: int, settings: Settings) -> int:
        """After when an objective over these signals, judged up to `done`, has to be judged; microseconds."""
        if self.since is None:
            found = done - int(settings.lateness_seconds * SECOND)
        else:
            # What is not noted is younger than this when it is stored.
            found = min(done, micros(self.since) - int(settings.settle_seconds * SECOND))
        # A slice is open at its beginning and has its end.
        found = min([found, *(self.oldest[signal] - 1 for signal in signals if signal in self.oldest)])
        return max(found, done - int(settings.late_points_seconds * SECOND))


async def gather(
    session: AsyncSession,
    requirements: Sequence[WatchedRequirement],
    now: datetime,
    settings: Settings,
    news: News = arrivals.UNKNOWN,
    most: int | None = None,
) -> list[Work]:
    """What there is to judge of those requirements of which something is new, at most so many slices of each."""
    step = settings.evaluation_interval_seconds * SECOND
    until = (micros(now) - int(settings.settle_seconds * SECOND)) // step * step
    parts, unmeasured = _parts(requirements)
    tracked = await repository.tracked(session, list(parts))
    known = await repository.indicators(session, list(parts))
    queries = [query for each in parts.values() for part in each for query in part.queries.values()]
    matching = await signals.matching(session, {looked_up(query) for query in queries})
    matched = [signal for found in matching.values() for signal in found]
    late = Late(news.since, await arrivals.oldest(session, news.notes, matched), most or MAX_SLICES)
    plans = {
        id: [_plan(id, part, tracked, known, matching, until, late, settings) for part in each]
        for id, each in parts.items()
    }
    silent = await _untold(session, [each for each in requirements if plans.get(each.id) == []])
    plans = {
        id: each
        for id, each in plans.items()
        if id in silent or any(grid.count for plan in each for grid in _grids(plan))
    }
    flat = [plan for each in plans.values() for plan in each]
    before = iter(await _before(session, flat))
    points = await _points(session, flat)
    works = []
    for requirement in requirements:
        if requirement.id in plans:
            own = plans[requirement.id]
            named = {plan.identity for plan in own}
            works.append(
                Work(
                    requirement=requirement,
                    until=until,
                    behind=any(grid.end + grid.step <= until for plan in own for grid in _grids(plan)),
                    slos=[_work(plan, next(before), points[plan.span], until, settings) for plan in own],
                    outdated=[
                        each
                        for each in known.values()
                        if each.requirement_id == requirement.id and each.detector and each.identity not in named
                    ],
                    dropped=_dropped(requirement.id, tracked, own),
                    unmeasured=unmeasured[requirement.id],
                )
            )
    return works


def _dropped(requirement_id: UUID, tracked: Tracked, plans: Sequence[Plan]) -> list[int]:
    kept = {row.number for plan in plans for row in plan.stored if row is not None}
    return [row.number for key, row in tracked.items() if key[0] == requirement_id and row.number not in kept]


def _slos(requirement: WatchedRequirement) -> list[Slo] | None:
    """None where this version of the service can't read them: the others must not suffer for it."""
    try:
        return [Slo.model_validate(slo) for slo in requirement.slos]
    except ValidationError as error:
        log.error("the SLOs of %s can't be read, so it is not evaluated: %s", requirement.key, error)
        return None


def _parts(
    requirements: Sequence[WatchedRequirement],
) -> tuple[dict[UUID, list[Part]], dict[UUID, list[Unmeasured]]]:
    """By requirement, of those whose SLOs can be read: what of them is measured, and what is not."""
    parts: dict[UUID, list[Part]] = {}
    unmeasured: dict[UUID, list[Unmeasured]] = {}
    for requirement in requirements:
        if (slos := _slos(requirement)) is not None:
            split = [measure.parts(slo) for slo in slos]
            parts[requirement.id] = [part for found, _ in split for part in found]
            unmeasured[requirement.id] = [each for _, lacking in split for each in lacking]
    return parts, unmeasured


async def _untold(session: AsyncSession, requirements: Sequence[WatchedRequirement]) -> set[UUID]:
    """Of requirements of which nothing is measured, those of which that was not said yet."""
    told = await verdicts.current(session, [each.id for each in requirements]) if requirements else {}
    return {each.id for each in requirements if each.id not in told or told[each.id].revision != each.revision}


def looked_up(query: SignalQuery) -> tuple[str, str]:
    """What `signals.matching` looks for."""
    return query.metric, orjson.dumps(query.attributes, option=orjson.OPT_SORT_KEYS).decode()


def _grids(plan: Plan) -> tuple[Grid, ...]:
    return (*plan.grids, plan.watched)


def _plan(
    requirement_id: UUID,
    part: Part,
    tracked: Tracked,
    known: Mapping[bytes, Indicator],
    matching: Matching,
    until: int,
    late: Late,
    settings: Settings,
) -> Plan:
    slo, seconds = part.slo, settings.evaluation_interval_seconds
    found = {role: matching[looked_up(query)] for role, query in part.queries.items()}
    most = max(1, min(late.most, _POINTS // max(1, sum(map(len, found.values())))))
    window = windows.longest(slo.time_window[0]).total_seconds()
    origin = until - int(min(window, settings.backfill_seconds)) * SECOND
    numbers = [signal.number for each in found.values() for signal in each]

    definitions = [measure.definition(part, objective, seconds) for objective in slo.objectives]
    stored = [tracked.get((requirement_id, slo.name, part.first + index)) for index in range(len(slo.objectives))]
    continued = [
        row if row is not None and row.definition == definition else None
        for row, definition in zip(stored, definitions, strict=True)
    ]
    grids = []
    for row, objective in zip(continued, slo.objectives, strict=True):
        step = measure.slice_seconds(slo, objective, seconds) * SECOND
        if row is None:
            grids.append(_grid(origin, until, step, most))
        else:
            done = micros(row.evaluated_to)
            grids.append(_grid(done, until, step, most, late.after(numbers, done, settings)))
    identity = measure.indicator_identity(requirement_id, part)
    indicator = known.get(identity)
    detector = indicator.detector if indicator is not None else None
    watched = _grid(micros(detector.evaluated_to) if detector else origin, until, seconds * SECOND, most)
    return Plan(part, identity, indicator, definitions, stored, continued, grids, watched, found)


def _grid(done: int, until: int, step: int, most: int, again: int | None = None) -> Grid:
    """Of what is not done at most so many slices, and of what is, those after `again`, at most as many."""
    start = done // step * step
    end = start + most * step
    if again is not None:
        start = max(again // step * step, start - most * step)
    return Grid(start, step, max(0, (min(until, end) - start) // step))


async def _before(session: AsyncSession, plans: Sequence[Plan]) -> list[list[Counts]]:
    pairs = [
        (row.number, moment(grid.start))
        for plan in plans
        for row, grid in zip(plan.continued, plan.grids, strict=True)
        if row is not None
    ]
    found = iter(await repository.running_totals(session, pairs))
    return [[Counts(0, 0) if row is None else next(found) for row in plan.continued] for plan in plans]


async def _points(session: AsyncSession, plans: Sequence[Plan]) -> dict[tuple[int, int], Points]:
    """The points of each span: mostly all plans share one, for they were last evaluated together."""
    wanted: dict[tuple[int, int], dict[int, SignalInfo]] = {}
    for plan in plans:
        wanted.setdefault(plan.span, {}).update({signal.number: signal for signal in plan.matched})
    return {
        (after, until): await reading.points(session, list(found.values()), moment(after), moment(until))
        for (after, until), found in wanted.items()
    }


def _work(plan: Plan, before: Sequence[Counts], points: Points, until: int, settings: Settings) -> SloWork:
    request = measure.Request(
        part=plan.part,
        grids=plan.grids,
        watched=plan.watched,
        step=settings.evaluation_interval_seconds * SECOND,
        signals=plan.signals,
        points=points.of(plan.matched),
        least=settings.quantile_observations,
    )
    return SloWork(plan, before, request, _watch(plan.indicator, until, settings))


def _watch(indicator: Indicator | None, until: int, settings: Settings) -> Watch:
    patience = until - int(settings.stale_seconds * SECOND)
    if indicator is None or (detector := indicator.detector) is None:
        return Watch(None, alarm.QUIET, alarm.Config().bar, until, patience)
    current = alarm.Alarm.from_json(detector.alarm)
    return Watch(detector.state, current, indicator.bar, micros(detector.since), patience)
