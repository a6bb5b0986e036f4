import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.anomalies import rules
from plumbline_common.schemas import AnomalyState, Label, Severity


def test_the_title_says_in_words_what_happened_to_what() -> None:
    found = rules.title(
        "http.server.request.duration", "p95", "s", "plumbline-gateway", "up", 0.612, 0.021, 0.012, 0.048
    )
    assert found == (
        "Latency (p95 of http.server.request.duration) of plumbline-gateway rose to 612 ms;"
        " expected 21 ms (12 ms–48 ms)"
    )


@pytest.mark.parametrize(
    ("metric", "aggregation", "unit", "expected"),
    [
        ("process.memory.usage", "mean", "By", "Memory use (mean of process.memory.usage) fell to 512 MiB;"),
        ("http.server.request.duration", "error_ratio", "1", "Share of bad events (error ratio of http.server."),
        ("orders", "rate", "{order}", "Orders (rate of orders) fell to 537 million order/s"),
        ("", "mean", "", "Value (mean of ) fell to"),
    ],
)
def test_other_metrics_have_their_own_words(metric: str, aggregation: str, unit: str, expected: str) -> None:
    found = rules.title(metric, aggregation, unit, None, "down", 512 * 2.0**20, 2.0**30, 0.0, 2.0**31)
    assert found.startswith(expected.replace("537 million", "5.37e+08"))


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0005, "s", "500 µs"),
        (12.5, "ms", "12.5 ms"),
        (90, "s", "90 s"),
        (0, "s", "0 s"),
        (1e-9, "s", "0.001 µs"),
        (-0.2, "s", "-200 ms"),
        (2.5e9, "By", "2.33 GiB"),
        (100, "By/s", "100 B/s"),
        (0.031, "1", "3.1 %"),
        (41, "{connection}", "41 connection"),
        (1234567, "", "1.23e+06"),
    ],
)
def test_quantities_have_a_size_that_people_read(value: float, unit: str, expected: str) -> None:
    assert rules.quantity(value, unit) == expected


def test_severity_grows_with_the_score() -> None:
    assert [rules.severity(score) for score in (1.0, 1.5, 3.0)] == [
        Severity.INFO,
        Severity.WARNING,
        Severity.CRITICAL,
    ]


@pytest.mark.parametrize("now", AnomalyState)
@pytest.mark.parametrize("to", AnomalyState)
def test_an_anomaly_goes_only_where_it_legally_can(now: AnomalyState, to: AnomalyState) -> None:
    if to in rules.LEGAL[now]:
        rules.check_transition(now, to)
    else:
        with pytest.raises(rules.IllegalTransition) as refusal:
            rules.check_transition(now, to)
        assert refusal.value.extra["legal"] == list(rules.LEGAL[now])


@given(now=st.sampled_from(AnomalyState), ended=st.booleans())
def test_the_latest_label_decides_whether_it_was_one(now: AnomalyState, ended: bool) -> None:
    assert rules.labelled(now, Label.FALSE_POSITIVE, ended=ended) is AnomalyState.FALSE_POSITIVE
    after = rules.labelled(now, Label.TRUE_POSITIVE, ended=ended)
    assert after is not AnomalyState.FALSE_POSITIVE
    assert after is now or now is AnomalyState.FALSE_POSITIVE
