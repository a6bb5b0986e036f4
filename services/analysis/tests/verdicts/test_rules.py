from typing import Any

from plumbline_analysis.verdicts import rules
from plumbline_common.schemas import ObjectiveEvidence, VerdictState

MET, NO_DATA, AT_RISK, VIOLATED = VerdictState.MET, VerdictState.NO_DATA, VerdictState.AT_RISK, VerdictState.VIOLATED


def evidence(state: VerdictState, **members: Any) -> ObjectiveEvidence:
    given: dict[str, Any] = {
        "slo": "latency",
        "objective": 0,
        "state": state,
        "target": 0.99,
        "sli": 0.996,
        "good": 996.0,
        "total": 1000.0,
        "budget_remaining": 0.6,
        "burn_rate": 0.4,
    }
    return ObjectiveEvidence(**(given | members))


def test_an_anomaly_that_goes_on_puts_at_risk_but_does_not_hide_worse() -> None:
    assert rules.state([evidence(VerdictState.MET)], 0) is VerdictState.MET
    assert rules.state([evidence(VerdictState.MET)], 1) is VerdictState.AT_RISK
    assert rules.state([evidence(VerdictState.NO_DATA)], 1) is VerdictState.AT_RISK
    assert rules.state([evidence(VerdictState.VIOLATED)], 1) is VerdictState.VIOLATED


def test_the_reason_names_what_made_the_verdict() -> None:
    both = [evidence(VerdictState.MET), evidence(VerdictState.VIOLATED, slo="errors", budget_remaining=-1.0)]
    assert rules.reason(both, [], VerdictState.VIOLATED) == (
        "errors, objective 1: the error budget is spent (99.600% good of 1000, target 0.99)."
    )
    assert rules.reason([evidence(VerdictState.MET)], [], VerdictState.MET) == (
        "latency, objective 1: 60% of the error budget is left (99.600% good of 1000, target 0.99)."
    )


def test_the_reason_tells_of_burning_of_anomalies_and_of_missing_data() -> None:
    burning = rules.reason([evidence(VerdictState.AT_RISK, burn_rate=15.0)], ["Latency rose"], VerdictState.AT_RISK)
    assert "burns at 15 times the sustainable rate" in burning
    assert burning.endswith("Latency rose (an anomaly that goes on).")
    missing = evidence(VerdictState.NO_DATA, sli=None, budget_remaining=None, burn_rate=None, total=3.0)
    assert "too little of it (3 units" in rules.reason([missing], [], VerdictState.NO_DATA)
    assert rules.reason([], [], VerdictState.NO_DATA) == "No objective has been evaluated."


def composite(*left: tuple[VerdictState, float | None, float]) -> list[ObjectiveEvidence]:
    return [
        evidence(state, objective=place, budget_remaining=remaining, weight=weight)
        for place, (state, remaining, weight) in enumerate(left)
    ]


def test_a_composite_slo_is_judged_by_the_weighted_budget_that_is_left() -> None:
    assert rules.state(composite((MET, 0.9, 1), (MET, 0.5, 1)), 0) is MET
    light = composite((MET, 0.9, 9), (VIOLATED, -2.0, 1))
    assert rules.state(light, 0) is AT_RISK
    assert "objective 2: the error budget is spent" in rules.reason(light, [], AT_RISK)
    heavy = composite((MET, 0.9, 1), (VIOLATED, -2.0, 1))
    assert rules.state(heavy, 0) is VIOLATED
    assert rules.state([*light, evidence(MET, slo="other")], 0) is AT_RISK
    assert rules.state(composite((MET, 0.9, 1), (NO_DATA, None, 1)), 0) is NO_DATA
    assert rules.state(composite((NO_DATA, None, 1)), 0) is NO_DATA


def test_the_worst_state_stands_for_all() -> None:
    assert rules.worst([MET, NO_DATA, AT_RISK, VIOLATED]) is VIOLATED
    assert rules.worst([MET, NO_DATA, AT_RISK]) is AT_RISK
    assert rules.worst([MET, NO_DATA]) is NO_DATA
    assert rules.worst([MET]) is MET
    assert rules.worst([]) is NO_DATA
