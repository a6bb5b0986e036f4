from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from plumbline_analysis.incidents import rules
from plumbline_analysis.incidents.rules import Part
from plumbline_common.schemas import AnomalyState, IncidentState, Severity

START = datetime(2026, 11, 1, tzinfo=UTC)


def part(number: int, service: str | None = "shop", minute: float = 0, **members: object) -> Part:
    given: dict[str, object] = {
        "requirement_id": None,
        "state": AnomalyState.OPEN,
        "severity": Severity.WARNING,
        "end": None,
        "peak_score": 2.0,
        "title": "Latency of shop rose to 612 ms; expected 21 ms (12 ms–48 ms)",
        "sentence": "Latency of shop rose.",
    }
    onset = START + timedelta(minutes=minute)
    return Part(id=UUID(int=number), service=service, onset=onset, **given | members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("services", "ending"),
    [
        (["shop"], ""),
        (["shop", "shop"], "; with it 1 more anomaly"),
        (["shop", "cart"], "; with it 1 more anomaly of cart"),
        (["shop", "mail", "cart"], "; with it 2 more anomalies of cart and mail"),
        (["shop", "mail", "cart", None], "; with it 3 more anomalies of cart and mail"),
        (["shop", "a", "b", "c", "d", "e"], "; with it 5 more anomalies of a, b, c and 2 more services"),
    ],
)
def test_a_title_names_what_it_may_have_begun_with_and_what_else_there_is(
    services: list[str | None], ending: str
) -> None:
    parts = [part(number, service) for number, service in enumerate(services)]
    title = rules.title(parts[0].title, "shop", parts)
    assert title == f"Latency of shop rose to 612 ms{ending}"


def test_an_incident_is_as_grave_as_its_worst_anomaly_and_over_with_its_last() -> None:
    first, second = part(1, severity=Severity.INFO, end=START), part(2, end=START + timedelta(minutes=9))
    assert rules.severity([first, second]) is Severity.WARNING
    assert rules.severity([part(3, severity=Severity.CRITICAL), second]) is Severity.CRITICAL
    assert rules.quiet_since([second, first]) == second.end
    assert rules.quiet_since([second, part(3)]) is None


def test_false_positives_count_for_nothing_while_there_is_anything_else() -> None:
    false, later, first = part(1, state=AnomalyState.FALSE_POSITIVE), part(3, minute=2), part(2, minute=1)
    assert rules.telling([later, false, first]) == [first, later]
    assert rules.telling([false]) == [false]
    assert (rules.is_false([false]), rules.is_false([false, first])) == (True, False)


@pytest.mark.parametrize(
    ("logs", "is_error"),
    [
        ("connection refused by <*>", True),
        ("java.lang.NullPointerException at <*>", True),
        ("payment FAILED", True),
        ("request timed out", True),
        ("cart <*> paid", False),
        ("the failover is ready", False),
        (None, False),
    ],
)
def test_logs_that_speak_of_errors_are_known(logs: str | None, is_error: bool) -> None:
    assert rules.error_said([part(1), part(2, logs=logs)]) == (logs if is_error else None)


def test_an_illegal_transition_tells_the_legal_ones() -> None:
    rules.check_transition(IncidentState.OPEN, IncidentState.RESOLVED)
    with pytest.raises(rules.IllegalTransition) as refused:
        rules.check_transition(IncidentState.MERGED, IncidentState.RESOLVED)
    assert refused.value.extra == {"legal": []}
    assert "no other state" in refused.value.detail
