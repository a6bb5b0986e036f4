from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.signals import rules
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.errors import Invalid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


@given(
    after=st.integers(0, 2**50),
    span=st.integers(1, 400 * 86_400 * SECOND),
    native=st.sampled_from([2, 10, 60]),
    least=st.sampled_from([1, 60, 3600]),
)
def test_the_chosen_slices_cover_the_range_and_are_not_too_many(
    after: int, span: int, native: int, least: int
) -> None:
    grid = rules.grid(after, after + span, None, native, least_seconds=least)
    assert grid.start <= after
    assert after + span <= grid.start + grid.step * grid.count
    assert grid.step % (native * SECOND) == 0
    assert grid.step % (least * SECOND) == 0
    assert grid.start % grid.step == 0
    assert 1 <= grid.count <= 302


def test_too_many_slices_are_refused() -> None:
    with pytest.raises(Invalid, match="more than 5000"):
        rules.grid(0, 10_000 * SECOND, 1, 10)


def test_a_range_that_is_left_out_is_the_last_hour() -> None:
    assert rules.asked_range(None, None, NOW) == (NOW - timedelta(hours=1), NOW)
    early = NOW - timedelta(days=1)
    assert rules.asked_range(None, early, NOW) == (early - timedelta(hours=1), early)


def test_each_kind_of_signal_has_its_own_way_of_reading() -> None:
    def of(kind: Kind, monotonic: bool = False, temporality: Temporality = Temporality.CUMULATIVE) -> SignalInfo:
        return SignalInfo(1, "", kind, temporality, monotonic)

    assert rules.aggregation(of(Kind.GAUGE), None, None) == "mean"
    assert rules.aggregation(of(Kind.SUM), None, None) == "mean"
    assert rules.aggregation(of(Kind.SUM, monotonic=True), None, None) == "rate"
    assert rules.aggregation(of(Kind.SUM, temporality=Temporality.DELTA), None, None) == "rate"
    assert rules.aggregation(of(Kind.EXPONENTIAL_HISTOGRAM), None, None) == "p95"
    assert rules.aggregation(of(Kind.INDICATOR), "error_ratio", None) == "error_ratio"
    assert rules.aggregation(of(Kind.HISTOGRAM), None, "p99") == "p99"
    with pytest.raises(Invalid, match="histogram"):
        rules.aggregation(of(Kind.GAUGE), None, "p99")
