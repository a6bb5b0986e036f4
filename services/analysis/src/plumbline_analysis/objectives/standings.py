"""Where objectives stand: their windows, budgets and burn rates, and the events of those that changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import excused, forecast, measure, repository, rules, windows
from plumbline_analysis.objectives.counting import Counted
from plumbline_analysis.objectives.excused import Stretch
from plumbline_analysis.objectives.measure import Unmeasured
from plumbline_analysis.objectives.rules import Counts, Standing
from plumbline_analysis.settings import Settings
from plumbline_common.events import Event, ObjectiveBurning, ObjectiveExhausted, ObjectiveRecovered, PolicyReached
from plumbline_common.schemas import (
    AlertSeverity,
    BudgetRule,
    BurnAlert,
    Exhaustion,
    Objective,
    ObjectiveEvidence,
    VerdictState,
)

_EVENTS: dict[VerdictState, type[ObjectiveBurning | ObjectiveExhausted | ObjectiveRecovered]] = {
    VerdictState.AT_RISK: ObjectiveBurning,
    VerdictState.VIOLATED: ObjectiveExhausted,
    VerdictState.MET: ObjectiveRecovered,
}
_TROUBLE = {VerdictState.AT_RISK, VerdictState.VIOLATED}


async def assess(
    session: AsyncSession,
    counted: Sequence[Counted],
    settings: Settings,
    adjusted: Mapping[UUID, Sequence[Stretch]],
) -> list[tuple[ObjectiveEvidence, Standing]]:
    """Where each objective stands now. `adjusted` by requirement: when no budget burns."""
    looked_at = [_window(each, settings, adjusted.get(each.requirement.id, ())) for each in counted]
    asked = [
        (each.number, at)
        for each, window in zip(counted, looked_at, strict=True)
        for at in sorted(excused.moments(window.excused, map(window.span, window.spans)))
    ]
    totals: dict[int, dict[int, Counts]] = defaultdict(dict)
    known = await repository.running_totals(session, [(number, moment(at)) for number, at in asked])
    for (number, at), total in zip(asked, known, strict=True):
        totals[number][at] = total
    return [
        _stand(each, window, totals[each.number], settings) for each, window in zip(counted, looked_at, strict=True)
    ]


@dataclass(frozen=True)
class _Window:
    """In seconds: how long the whole window is, without what is excused of it; how much of it has passed, with that
    (of a rolling one all); and what is `left` of a calendar's. In microseconds: its `end`, and what is `excused`."""

    length: float
    passed: float
    left: float | None
    alerts: tuple[rules.BurnAlert, ...]
    end: int
    excused: Sequence[Stretch]

    @property
    def spans(self) -> list[float]:
        return sorted({self.passed, *(alert.long for alert in self.alerts), *(alert.short for alert in self.alerts)})

    def span(self, seconds: float) -> Stretch:
        return self.end - round(seconds * rules.SECOND), self.end


def _window(counted: Counted, settings: Settings, adjusted: Sequence[Stretch]) -> _Window:
    end = moment(counted.end)
    begin, until = windows.bounds(counted.slo.time_window[0], end)
    length = (until - begin).total_seconds()
    alerts = rules.burn_alerts(
        length, short_floor=settings.short_floor_seconds, long_floor=settings.long_floor_seconds
    )
    out = excused.on_slices(adjusted, _slice_seconds(counted, settings) * rules.SECOND)
    free = excused.length(excused.within(out, micros(begin), micros(until))) / rules.SECOND
    left = None if counted.slo.time_window[0].calendar is None else (until - end).total_seconds()
    return _Window(length - free, (end - begin).total_seconds(), left, alerts, counted.end, out)


def _slice_seconds(counted: Counted, settings: Settings) -> int:
    return measure.slice_seconds(counted.slo, counted.objective, settings.evaluation_interval_seconds)


def _stand(
    counted: Counted, window: _Window, totals: Mapping[int, Counts], settings: Settings
) -> tuple[ObjectiveEvidence, Standing]:
    target = counted.objective.fraction
    counts = {span: excused.counts(totals, window.span(span), window.excused)[0] for span in window.spans}
    whole, left_out = excused.counts(totals, window.span(window.passed), window.excused)
    minimum = settings.minimum_events if measure.counts_events(counted.part) else settings.minimum_slices
    slices = None
    if counted.slo.budgeting_method.of_time:
        slices = window.length / _slice_seconds(counted, settings)
    silent = None
    if counted.last_point is not None:
        # Nobody listens to what is being maintained.
        silent = counted.end - max(counted.last_point, excused.last_end(window.excused, counted.end) or 0)
    alert = next(
        (
            alert
            for alert in window.alerts
            if rules.burning(counts[alert.long], counts[alert.short], alert, target, minimum)
        ),
        None,
    )
    seen = rules.objective_state(
        whole,
        target,
        is_burning=alert is not None,
        minimum=minimum,
        stale=silent is None or silent > settings.stale_seconds * rules.SECOND,
        slices=slices,
    )
    after = rules.settle(counted.standing, seen, settings.hold_evaluations)
    remaining = rules.budget_remaining(whole, target, slices)
    policy = _policy(counted)
    spent = None if remaining is None or whole.total < minimum else 1 - remaining
    after = replace(
        after,
        reached=rules.reached(policy, spent, counted.standing.reached),
        paged=after.state is VerdictState.AT_RISK
        and (counted.standing.paged or (alert is not None and alert.severity is AlertSeverity.PAGE)),
    )
    evidence = ObjectiveEvidence(
        slo=counted.slo.name,
        objective=counted.index,
        state=after.state or seen,
        target=target,
        sli=whole.sli,
        good=whole.good,
        total=whole.total,
        budget_remaining=remaining,
        burn_rate=rules.burn_rate(counts[window.alerts[0].short], target),
        alert=None if alert is None else _told(alert),
        exhaustion=_exhaustion(after.state or seen, remaining, counts, window, target),
        weight=_weight(counted.objective),
        adjusted=left_out.total or None,
        policy=policy.get(after.reached),
    )
    return evidence, after


def _told(alert: rules.BurnAlert) -> BurnAlert:
    return BurnAlert(severity=alert.severity, rate=alert.rate, long_seconds=alert.long, short_seconds=alert.short)


def _exhaustion(
    state: VerdictState,
    remaining: float | None,
    counts: Mapping[float, Counts],
    window: _Window,
    target: float,
) -> Exhaustion | None:
    if remaining is None or state is VerdictState.NO_DATA:
        return None
    spans = {span: counts[span] for alert in window.alerts for span in (alert.long, alert.short)}
    found = forecast.exhaustion(
        remaining, spans, window.alerts[1].long, target, window=window.length, left=window.left
    )
    if found is None:
        return None

    def at(seconds: float) -> datetime:
        return moment(window.end + round(seconds * rules.SECOND))

    return Exhaustion(
        expected_at=None if found.expected is None else at(found.expected),
        earliest_at=at(found.earliest),
        latest_at=None if found.latest is None else at(found.latest),
    )


def _policy(counted: Counted) -> dict[float, BudgetRule]:
    """The rules by the part of the budget that is spent."""
    rules = map(BudgetRule.model_validate, counted.requirement.budget_policy)
    return {rule.spent: rule for rule in rules}


def _weight(objective: Objective) -> float | None:
    return (objective.composite_weight or 1.0) if objective.composite else None


def unmeasured(each: Unmeasured) -> ObjectiveEvidence:
    """What there is to say of an objective that nothing here can measure."""
    objective = each.slo.objectives[each.index]
    return ObjectiveEvidence(
        slo=each.slo.name,
        objective=each.index,
        state=VerdictState.NO_DATA,
        target=objective.fraction,
        sli=None,
        good=0.0,
        total=0.0,
        budget_remaining=None,
        burn_rate=None,
        weight=_weight(objective),
        missing=each.reason,
    )


def news(counted: Counted, evidence: ObjectiveEvidence, after: Standing) -> list[Event]:
    """The events of an objective that got into trouble or out of it, or spent so much that a rule applies."""
    about = {
        "requirement_id": counted.requirement.id,
        "requirement_revision": counted.requirement.revision,
        "slo": evidence.slo,
        "objective": evidence.objective,
        "burn_rate": evidence.burn_rate,
        "budget_remaining": evidence.budget_remaining,
        "at": moment(counted.end),
    }
    before, kind = counted.standing, _EVENTS.get(evidence.state)
    told: list[Event] = []
    changed = after.state is not before.state and {after.state, before.state} & _TROUBLE
    if kind is ObjectiveBurning and (changed or (after.paged and not before.paged)):
        told.append(ObjectiveBurning(**about, alert=evidence.alert))
    elif kind is not None and changed:
        told.append(kind(**about))
    newly = [rule for spent, rule in _policy(counted).items() if before.reached < spent <= after.reached]
    return told + [PolicyReached(**about, rule=rule) for rule in newly]
