"""From objectives and anomalies to one verdict, and its reason in words. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plumbline_common.schemas import ObjectiveEvidence, VerdictState

SEVERITY = (VerdictState.MET, VerdictState.NO_DATA, VerdictState.AT_RISK, VerdictState.VIOLATED)


def worst(states: Sequence[VerdictState]) -> VerdictState:
    """The verdict of the whole: VIOLATED, AT_RISK, NO_DATA, MET in this order; NO_DATA of nothing."""
    return max(states, key=SEVERITY.index, default=VerdictState.NO_DATA)


def state(objectives: Sequence[ObjectiveEvidence], anomalies: int) -> VerdictState:
    """The worst objective or composite SLO; an anomaly that goes on puts the requirement at risk."""
    composites: dict[str, list[ObjectiveEvidence]] = defaultdict(list)
    for each in objectives:
        if each.weight is not None:
            composites[each.slo].append(each)
    states = [each.state for each in objectives if each.weight is None]
    found = worst([*states, *map(composite, composites.values())])
    return worst([found, VerdictState.AT_RISK]) if anomalies else found


def composite(objectives: Sequence[ObjectiveEvidence]) -> VerdictState:
    """Violated where the weighted mean of what is left of the budgets is nothing; trouble of one is a risk."""
    known = [(each.weight or 1.0, each.budget_remaining) for each in objectives]
    left = [(weight, remaining) for weight, remaining in known if remaining is not None]
    if left and sum(weight * remaining for weight, remaining in left) <= 1e-9 * sum(weight for weight, _ in left):
        return VerdictState.VIOLATED
    found = worst([each.state for each in objectives])
    return VerdictState.AT_RISK if found is VerdictState.VIOLATED else found


def policies(objectives: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Any]:
    """Which rule of the budget policy applies to which objective (JSON-ready evidence)."""
    return {
        (each["slo"], each["objective"]): each["policy"]["spent"]
        for each in objectives
        if each.get("policy") is not None
    }


def reason(objectives: Sequence[ObjectiveEvidence], anomaly_titles: Sequence[str], verdict: VerdictState) -> str:
    """One sentence for each objective that made the verdict, and for each anomaly that goes on."""
    # The state of a composite SLO may be none of its objectives': then all that are in trouble are told.
    made = [each for each in objectives if each.state is verdict]
    if verdict is not VerdictState.MET:
        made = made or [each for each in objectives if each.state in (VerdictState.AT_RISK, VerdictState.VIOLATED)]
    parts = [_objective(objective) for objective in made]
    if verdict in (VerdictState.AT_RISK, VerdictState.VIOLATED):
        parts += [f"{title} (an anomaly that goes on)" for title in anomaly_titles]
    return ". ".join(parts) + "." if parts else "No objective has been evaluated."


def _objective(evidence: ObjectiveEvidence) -> str:
    name = f"{evidence.slo}, objective {evidence.objective + 1}"
    if evidence.missing is not None:
        return f"{name}: no data: {evidence.missing}"
    if evidence.state is VerdictState.NO_DATA or evidence.sli is None or evidence.budget_remaining is None:
        left_out = f", {evidence.adjusted:g} left out by budget adjustments" if evidence.adjusted else ""
        return f"{name}: no data, or too little of it ({evidence.total:g} units in the window{left_out})"
    good = f"{evidence.sli:.3%} good of {evidence.total:.0f}, target {evidence.target:.10g}"
    if evidence.adjusted:
        good += f", {evidence.adjusted:.0f} left out by budget adjustments"
    policy = f"; as {evidence.policy.spent:.0%} of it is spent: {evidence.policy.action}" if evidence.policy else ""
    if evidence.state is VerdictState.VIOLATED:
        return f"{name}: the error budget is spent ({good}){policy}"
    left = f"{max(evidence.budget_remaining, 0):.0%} of the error budget is left"
    if evidence.state is VerdictState.AT_RISK and evidence.burn_rate is not None:
        return (
            f"{name}: the error budget burns at {evidence.burn_rate:.3g} times the sustainable rate; {left} ({good})"
            f"{policy}"
        )
    return f"{name}: {left} ({good}){policy}"
