"""From objectives and anomalies to one verdict, and its reason in words. Pure."""

from collections.abc import Sequence

from plumbline_common.schemas import ObjectiveEvidence, VerdictState

SEVERITY = (VerdictState.MET, VerdictState.NO_DATA, VerdictState.AT_RISK, VerdictState.VIOLATED)


def worst(states: Sequence[VerdictState]) -> VerdictState:
    """The verdict of the whole: VIOLATED, AT_RISK, NO_DATA, MET in this order; NO_DATA of nothing."""
    return max(states, key=SEVERITY.index, default=VerdictState.NO_DATA)


def state(objectives: Sequence[ObjectiveEvidence], anomalies: int) -> VerdictState:
    """The worst objective; an anomaly that goes on puts the requirement at risk."""
    found = worst([objective.state for objective in objectives])
    return worst([found, VerdictState.AT_RISK]) if anomalies else found


def reason(objectives: Sequence[ObjectiveEvidence], anomaly_titles: Sequence[str], verdict: VerdictState) -> str:
    """One sentence for each objective that made the verdict, and for each anomaly that goes on."""
    parts = [_objective(objective) for objective in objectives if objective.state is verdict]
    if verdict in (VerdictState.AT_RISK, VerdictState.VIOLATED):
        parts += [f"{title} (an anomaly that goes on)" for title in anomaly_titles]
    return ". ".join(parts) + "." if parts else "No objective has been evaluated."


def _objective(evidence: ObjectiveEvidence) -> str:
    name = f"{evidence.slo}, objective {evidence.objective + 1}"
    if evidence.state is VerdictState.NO_DATA or evidence.sli is None or evidence.budget_remaining is None:
        return f"{name}: no data, or too little of it ({evidence.total:g} units in the window)"
    good = f"{evidence.sli:.3%} good of {evidence.total:.0f}, target {evidence.target:.10g}"
    if evidence.state is VerdictState.VIOLATED:
        return f"{name}: the error budget is spent ({good})"
    left = f"{max(evidence.budget_remaining, 0):.0%} of the error budget is left"
    if evidence.state is VerdictState.AT_RISK and evidence.burn_rate is not None:
        return (
            f"{name}: the error budget burns at {evidence.burn_rate:.3g} times the sustainable rate; {left} ({good})"
        )
    return f"{name}: {left} ({good})"
