"""Where objectives stand: their windows, budgets and burn rates, and the events of those that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure, repository, rules, windows
from plumbline_analysis.objectives.counting import Counted
from plumbline_analysis.objectives.measure import Unmeasured
from plumbline_analysis.objectives.rules import BurnAlert, Counts, Standing
from plumbline_analysis.settings import Settings
from plumbline_common.events import Event, ObjectiveBurning, ObjectiveExhausted, ObjectiveRecovered
from plumbline_common.schemas import Objective, ObjectiveEvidence, VerdictState

_EVENTS: dict[VerdictState, type[ObjectiveBurning | ObjectiveExhausted | ObjectiveRecovered]] = {
    VerdictState.AT_RISK: ObjectiveBurning,
    VerdictState.VIOLATED: ObjectiveExhausted,
    VerdictState.MET: ObjectiveRecovered,
}
_TROUBLE = (VerdictState.AT_RISK, VerdictState.VIOLATED)


async def assess(
    session: AsyncSession, counted: Sequence[Counted], settings: Settings
) -> list[tuple[ObjectiveEvidence, Standing]]:
    """Where each objective stands now."""
    looked_at = [_window(each, settings) for each in counted]
    asked = [
        (each.number, moment(each.end - round(span * rules.SECOND)))
        for each, window in zip(counted, looked_at, strict=True)
        for span in (0.0, *window.spans)
    ]
    totals = iter(await repository.running_totals(session, asked))
    found = []
    for each, window in zip(counted, looked_at, strict=True):
        until = next(totals)
        counts = {}
        for span in window.spans:
            since = next(totals)
            counts[span] = Counts(until.good - since.good, until.total - since.total)
        found.append(_stand(each, window, counts, settings))
    return found


@dataclass(frozen=True)
class _Window:
    """In seconds: how long the whole window is, and how much of it has passed. A rolling one has passed."""

    length: float
    passed: float
    alerts: tuple[BurnAlert, ...]

    @property
    def spans(self) -> list[float]:
        return sorted({self.passed, *(alert.long for alert in self.alerts), *(alert.short for alert in self.alerts)})


def _window(counted: Counted, settings: Settings) -> _Window:
    end = moment(counted.end)
    begin, until = windows.bounds(counted.slo.time_window[0], end)
    length = (until - begin).total_seconds()
    alerts = rules.burn_alerts(
        length, short_floor=settings.short_floor_seconds, long_floor=settings.long_floor_seconds
    )
    return _Window(length, (end - begin).total_seconds(), alerts)


def _stand(
    counted: Counted, window: _Window, counts: Mapping[float, Counts], settings: Settings
) -> tuple[ObjectiveEvidence, Standing]:
    target, whole = counted.objective.fraction, counts[window.passed]
    minimum = settings.minimum_events if measure.counts_events(counted.part) else settings.minimum_slices
    slices = None
    if counted.slo.budgeting_method.of_time:
        slices = window.length / measure.slice_seconds(
            counted.slo, counted.objective, settings.evaluation_interval_seconds
        )
    silent = counted.end - counted.last_point if counted.last_point is not None else None
    seen = rules.objective_state(
        whole,
        target,
        is_burning=any(
            rules.burning(counts[alert.long], counts[alert.short], alert, target, minimum) for alert in window.alerts
        ),
        minimum=minimum,
        stale=silent is None or silent > settings.stale_seconds * rules.SECOND,
        slices=slices,
    )
    after = rules.settle(counted.standing, seen, settings.hold_evaluations)
    evidence = ObjectiveEvidence(
        slo=counted.slo.name,
        objective=counted.index,
        state=after.state or seen,
        target=target,
        sli=whole.sli,
        good=whole.good,
        total=whole.total,
        budget_remaining=rules.budget_remaining(whole, target, slices),
        burn_rate=rules.burn_rate(counts[window.alerts[0].short], target),
        weight=_weight(counted.objective),
    )
    return evidence, after


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
    """The event of an objective that got into trouble or out of it; nothing for any other."""
    before, kind = counted.standing.state, _EVENTS.get(evidence.state)
    if kind is None or after.state is before or (after.state not in _TROUBLE and before not in _TROUBLE):
        return []
    return [
        kind(
            requirement_id=counted.requirement.id,
            requirement_revision=counted.requirement.revision,
            slo=evidence.slo,
            objective=evidence.objective,
            burn_rate=evidence.burn_rate,
            budget_remaining=evidence.budget_remaining,
            at=moment(counted.end),
        )
    ]
