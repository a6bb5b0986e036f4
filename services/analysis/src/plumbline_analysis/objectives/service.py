"""The writing part of an evaluation: units, standings, anomalies and the verdict of one requirement."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository as anomaly_repository
from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.models import WatchedRequirement
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure, repository, rules, watching
from plumbline_analysis.objectives.gather import SloWork, Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.objectives.rules import BurnAlert, Counts, Standing
from plumbline_analysis.series.slices import Float64, Grid
from plumbline_analysis.settings import Settings
from plumbline_analysis.verdicts import repository as verdict_repository
from plumbline_analysis.verdicts import service as verdicts
from plumbline_common import outbox
from plumbline_common.events import Event, ObjectiveBurning, ObjectiveExhausted, ObjectiveRecovered
from plumbline_common.schemas import BudgetingMethod, Objective, ObjectiveEvidence, Slo, VerdictState

_MARGIN = timedelta(hours=1)
_EVENTS: dict[VerdictState, type[ObjectiveBurning | ObjectiveExhausted | ObjectiveRecovered]] = {
    VerdictState.AT_RISK: ObjectiveBurning,
    VerdictState.VIOLATED: ObjectiveExhausted,
    VerdictState.MET: ObjectiveRecovered,
}


@dataclass(frozen=True)
class _Counted:
    """An objective whose new units are stored; `end` and `last_point` in microseconds."""

    number: int
    slo: SloWork
    index: int
    end: int
    last_point: int | None
    standing: Standing

    @property
    def objective(self) -> Objective:
        return self.slo.slo.objectives[self.index]


async def record(session: AsyncSession, work: Work, judged: Sequence[Judged], settings: Settings) -> list[Event]:
    """Store what was judged, in the caller's transaction; the events that tell what changed are still to be staged.

    While history is still being taken in, only that is done: a verdict on half of it would be wrong.
    """
    counted = [
        await _count(session, work, slo, result, index, settings)
        for slo, result in zip(work.slos, judged, strict=True)
        for index in range(len(slo.slo.objectives))
    ]
    ongoing = {each.signal_id: each for each in await anomaly_repository.ongoing(session, work.requirement.id)}
    events = await watching.record(session, work, judged, ongoing)
    if work.behind:
        return events
    evidence, changes = await _assess(session, work.requirement, counted, settings)
    longest = max(rules.seconds(slo.slo.time_window[0].duration) for slo in work.slos)
    end = moment(work.until)
    changed = await verdicts.conclude(
        session, work.requirement, evidence, list(ongoing.values()), end - timedelta(seconds=longest), end
    )
    return [*events, *changes, *([changed] if changed else [])]


async def stage(session: AsyncSession, events: Sequence[Event]) -> None:
    for event in events:
        await outbox.stage(session, event)


async def retire(session: AsyncSession, requirement_id: UUID, at: int) -> list[Event]:
    """Stop holding production against a requirement: its anomalies end, its current verdict goes."""
    events: list[Event] = [
        anomalies.end(anomaly, at) for anomaly in await anomaly_repository.ongoing(session, requirement_id)
    ]
    await repository.forget(session, requirement_id)
    await verdict_repository.forget(session, requirement_id)
    return events


async def prune(session: AsyncSession, requirement: WatchedRequirement, now: datetime) -> None:
    """Drop the running totals of a requirement that no window reaches any more."""
    for slo in map(Slo.model_validate, requirement.slos):
        window = timedelta(seconds=rules.seconds(slo.time_window[0].duration))
        await repository.prune_slices(session, requirement.id, slo.name, now - window - _MARGIN)


# --- Units ------------------------------------------------------------------------------------------------


async def _count(
    session: AsyncSession, work: Work, slo: SloWork, judged: Judged, index: int, settings: Settings
) -> _Counted:
    """Store the running totals of one objective's new slices, and of those that late points changed."""
    grid, stored, continued = slo.request.grids[index], slo.stored[index], slo.continued[index]
    objective = slo.slo.objectives[index]
    end = grid.start + grid.step * grid.count
    latest = slo.request.points.latest
    if continued is not None:
        end = max(end, micros(continued.evaluated_to))
        if continued.last_point is not None:
            latest = max(latest or 0, micros(continued.last_point))
    members = {
        "definition": measure.definition(slo.slo, objective, settings.evaluation_interval_seconds),
        "evaluated_to": moment(end),
        "last_point": None if latest is None else moment(latest),
    }
    standing = Standing() if stored is None else _standing(stored.standing)
    if stored is None:
        row = await repository.add_objective(
            session,
            requirement_id=work.requirement.id,
            slo=slo.slo.name,
            objective=index,
            standing=asdict(standing),
            **members,
        )
        number = row.number
    else:
        number = stored.number
        if continued is None:
            await repository.forget_slices(session, [number])
        await repository.save_objective(session, number, **members)
    await _save_slices(session, number, grid, slo.before[index], *judged.measured.units[index])
    return _Counted(number, slo, index, end, latest, standing)


async def _save_slices(
    session: AsyncSession, number: int, grid: Grid, before: Counts, good: Float64, total: Float64
) -> None:
    if grid.count == 0:
        return
    kept = np.flatnonzero(total != 0)
    await repository.save_slices(
        session,
        number,
        moment(grid.start),
        moment(grid.start + grid.step * grid.count),
        [moment(end) for end in grid.ends[kept].tolist()],
        (before.good + np.cumsum(good))[kept].tolist(),
        (before.total + np.cumsum(total))[kept].tolist(),
    )


def _standing(stored: dict[str, object]) -> Standing:
    state, candidate, held = stored["state"], stored["candidate"], stored["held"]
    return Standing(
        VerdictState(str(state)) if state else None,
        VerdictState(str(candidate)) if candidate else None,
        int(str(held)),
    )


# --- Standings ----------------------------------------------------------------------------------------------


async def _assess(
    session: AsyncSession, requirement: WatchedRequirement, counted: Sequence[_Counted], settings: Settings
) -> tuple[list[ObjectiveEvidence], list[Event]]:
    """Where each objective stands now, and the events of those that changed."""
    spans = [_spans(each, settings) for each in counted]
    asked = [
        (each.number, moment(each.end - int(span * rules.SECOND)))
        for each, lengths in zip(counted, spans, strict=True)
        for span in (0.0, *lengths)
    ]
    totals = iter(await repository.running_totals(session, asked))
    found: list[ObjectiveEvidence] = []
    events: list[Event] = []
    for each, lengths in zip(counted, spans, strict=True):
        until = next(totals)
        windows = {}
        for span in lengths:
            since = next(totals)
            windows[span] = Counts(until.good - since.good, until.total - since.total)
        evidence, after = _stand(each, windows, settings)
        await repository.save_objective(session, each.number, standing=asdict(after))
        found.append(evidence)
        events += _news(requirement, each, evidence, after)
    return found, events


def _alerts(counted: _Counted, settings: Settings) -> tuple[float, tuple[BurnAlert, ...]]:
    window = float(rules.seconds(counted.slo.slo.time_window[0].duration))
    alerts = rules.burn_alerts(
        window, short_floor=settings.short_floor_seconds, long_floor=settings.long_floor_seconds
    )
    return window, alerts


def _spans(counted: _Counted, settings: Settings) -> list[float]:
    window, alerts = _alerts(counted, settings)
    return sorted({window, *(alert.long for alert in alerts), *(alert.short for alert in alerts)})


def _stand(counted: _Counted, windows: dict[float, Counts], settings: Settings) -> tuple[ObjectiveEvidence, Standing]:
    window, alerts = _alerts(counted, settings)
    target = counted.objective.target
    minimum = settings.minimum_events if measure.counts_events(counted.slo.slo) else settings.minimum_slices
    slices = None
    if counted.slo.slo.budgeting_method is BudgetingMethod.TIMESLICES:
        slices = window / measure.slice_seconds(
            counted.slo.slo, counted.objective, settings.evaluation_interval_seconds
        )
    silent = counted.end - counted.last_point if counted.last_point is not None else None
    seen = rules.objective_state(
        windows[window],
        target,
        is_burning=any(
            rules.burning(windows[alert.long], windows[alert.short], alert, target, minimum) for alert in alerts
        ),
        minimum=minimum,
        stale=silent is None or silent > settings.stale_seconds * rules.SECOND,
        slices=slices,
    )
    after = rules.settle(counted.standing, seen, settings.hold_evaluations)
    evidence = ObjectiveEvidence(
        slo=counted.slo.slo.name,
        objective=counted.index,
        state=after.state or seen,
        target=target,
        sli=windows[window].sli,
        good=windows[window].good,
        total=windows[window].total,
        budget_remaining=rules.budget_remaining(windows[window], target, slices),
        burn_rate=rules.burn_rate(windows[alerts[0].short], target),
    )
    return evidence, after


def _news(
    requirement: WatchedRequirement, counted: _Counted, evidence: ObjectiveEvidence, after: Standing
) -> list[Event]:
    before, kind = counted.standing.state, _EVENTS.get(evidence.state)
    trouble = (VerdictState.AT_RISK, VerdictState.VIOLATED)
    if kind is None or after.state is before or (after.state not in trouble and before not in trouble):
        return []
    return [
        kind(
            requirement_id=requirement.id,
            requirement_revision=requirement.revision,
            slo=evidence.slo,
            objective=evidence.objective,
            burn_rate=evidence.burn_rate,
            budget_remaining=evidence.budget_remaining,
            at=moment(counted.end),
        )
    ]
