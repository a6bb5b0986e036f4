"""Where objectives stand: their windows, budgets and burn rates, and the events of those that changed."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure, repository, rules
from plumbline_analysis.objectives.counting import Counted
from plumbline_analysis.objectives.rules import BurnAlert, Counts, Standing
from plumbline_analysis.settings import Settings
from plumbline_common.events import Event, ObjectiveBurning, ObjectiveExhausted, ObjectiveRecovered
from plumbline_common.schemas import ObjectiveEvidence, VerdictState

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
    spans = [_spans(each, settings) for each in counted]
    asked = [
        (each.number, moment(each.end - int(span * rules.SECOND)))
        for each, lengths in zip(counted, spans, strict=True)
        for span in (0.0, *lengths)
    ]
    totals = iter(await repository.running_totals(session, asked))
    found = []
    for each, lengths in zip(counted, spans, strict=True):
        until = next(totals)
        windows = {}
        for span in lengths:
            since = next(totals)
            windows[span] = Counts(until.good - since.good, until.total - since.total)
        found.append(_stand(each, windows, settings))
    return found


def _alerts(counted: Counted, settings: Settings) -> tuple[float, tuple[BurnAlert, ...]]:
    window = float(rules.seconds(counted.slo.time_window[0].duration))
    alerts = rules.burn_alerts(
        window, short_floor=settings.short_floor_seconds, long_floor=settings.long_floor_seconds
    )
    return window, alerts


def _spans(counted: Counted, settings: Settings) -> list[float]:
    window, alerts = _alerts(counted, settings)
    return sorted({window, *(alert.long for alert in alerts), *(alert.short for alert in alerts)})


def _stand(counted: Counted, windows: dict[float, Counts], settings: Settings) -> tuple[ObjectiveEvidence, Standing]:
    window, alerts = _alerts(counted, settings)
    target = counted.objective.target
    minimum = settings.minimum_events if measure.counts_events(counted.slo) else settings.minimum_slices
    slices = None
    if counted.slo.budgeting_method.of_time:
        slices = window / measure.slice_seconds(counted.slo, counted.objective, settings.evaluation_interval_seconds)
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
        slo=counted.slo.name,
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
