from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from plumbline_analysis.moments import micros
from plumbline_analysis.objectives import measure, rules
from plumbline_analysis.objectives.rules import SECOND, Counts
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.what_if import run as what_if
from plumbline_analysis.what_if.run import Limits, Totals, simulated, stretches
from plumbline_common.schemas import Slo, TimeWindow

LIMITS = Limits(step=10, short_floor=60, long_floor=300, minimum_events=10, minimum_slices=3, hold=3)
START = micros(datetime(2026, 11, 1, tzinfo=UTC))
DAY = 8_640
"""Slices of a day."""


def part(**members: Any) -> measure.Part:
    def spec(metric: str) -> dict[str, Any]:
        return {"metricSource": {"spec": {"metric": metric}}}

    given: dict[str, Any] = {
        "name": "errors",
        "indicator": {"ratioMetric": {"bad": spec("errors"), "total": spec("requests")}},
        "timeWindow": [{"duration": "7d", "isRolling": True}],
        "objectives": [{"target": 0.99}],
    }
    (found,), _ = measure.parts(Slo.model_validate(given | members))
    return found


def simulate(bad: Any, of: measure.Part | None = None, total: float = 100.0) -> Any:
    """Slices of 10 s with `total` requests each, of which so many were bad."""
    units = np.full(len(bad), total)
    return simulated(of or part(), 0, Grid(START, 10 * SECOND, len(bad)), units - np.asarray(bad), units, LIMITS)


def test_a_calm_history_burns_its_share_and_alerts_nobody() -> None:
    found = simulate(np.full(7 * DAY, 0.5))
    assert found.budget_burned == pytest.approx(0.5)
    assert (found.pages, found.tickets, found.exhausted_at) == (0, 0, None)
    assert found.curve[-1].burn_rate == pytest.approx(0.5)


def test_an_outage_pages_once_and_says_when_the_budget_was_spent() -> None:
    bad = np.zeros(7 * DAY)
    bad[DAY : DAY + DAY // 6] = 100  # four hours: 2.4 times the budget of a week, in the end
    found = simulate(bad)
    assert (found.pages, found.tickets) == (1, 0)
    (alert,) = found.alerts
    assert timedelta() < alert.started_at - datetime(2026, 11, 2, tzinfo=UTC) < timedelta(minutes=10)
    assert alert.ended_at is not None
    assert found.exhausted_at is not None
    assert found.budget_burned == pytest.approx((DAY // 6) / (7 * DAY) / 0.01)
    assert found.budget_lowest < 0


def test_a_history_without_units_says_so() -> None:
    found = simulate(np.zeros(100), total=0.0)
    assert (found.missing, found.budget_burned, found.alerts) == ("no units in that time", None, [])
    assert found.curve[0].budget_remaining is None


def test_low_traffic_is_no_fault() -> None:
    assert simulate(np.ones(20), total=1.0).budget_burned == pytest.approx(100)
    assert simulate(np.ones(5), total=1.0).pages == 0


def test_calm_shorter_than_a_recovery_does_not_end_an_alert() -> None:
    grid = Grid(START, 10 * SECOND, 12)
    paging = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0], bool)
    nothing = np.zeros(12, bool)
    found = what_if.alerted(grid, paging, nothing, np.arange(12.0), 3)
    assert [(each.started_at, each.burn_rate) for each in found] == [
        (datetime(2026, 11, 1, 0, 0, 20, tzinfo=UTC), 4.0),
        (datetime(2026, 11, 1, 0, 1, 40, tzinfo=UTC), 9.0),
    ]
    assert found[0].ended_at == datetime(2026, 11, 1, 0, 1, tzinfo=UTC)
    assert found[1].ended_at is None


def test_a_calendar_s_budget_begins_anew_with_each_window() -> None:
    window = {
        "duration": "1d",
        "isRolling": False,
        "calendar": {"startTime": "2026-01-01 00:00:00", "timeZone": "UTC"},
    }
    bad = np.zeros(2 * DAY)
    bad[: DAY // 2] = 2
    found = simulate(bad, part(timeWindow=[window]))
    middle = found.curve[len(found.curve) // 2 - 2]
    assert middle.budget_remaining == pytest.approx(0.0, abs=0.02)
    assert found.curve[-1].budget_remaining == pytest.approx(1.0)
    whole = list(stretches(TimeWindow.model_validate(window), Grid(START, 10 * SECOND, 2 * DAY)))
    assert [(int(each.at[0]), len(each.at)) for each in whole] == [(0, DAY), (DAY, DAY)]


UNITS = arrays.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([0.0, 1.0, 5.0, 40.0]))


@settings(max_examples=60)
@given(total=UNITS, share=st.floats(0, 1), target=st.sampled_from([0.5, 0.9, 0.999]), seconds=st.integers(1, 900))
def test_the_columns_say_what_the_rules_say_of_each_moment(
    total: Any, share: float, target: float, seconds: int
) -> None:
    good = total * share
    sums = (np.concatenate([[0.0], np.cumsum(each)]) for each in (good, total))
    totals = Totals(10 * SECOND, *sums)
    at = np.arange(len(total))
    alert = rules.BurnAlert(long=seconds * 2, short=seconds, rate=2.0)
    held, _ = what_if.burning(totals, at, alert, target, 10)
    remaining = what_if.budget_remaining(*totals.last(seconds, at), target, None)
    of_time = what_if.budget_remaining(*totals.last(seconds, at), target, 500.0)
    for place in range(len(total)):
        here = at[place : place + 1]
        long, short = (
            Counts(*(float(column[0]) for column in totals.last(span, here))) for span in (alert.long, alert.short)
        )
        assert bool(held[place]) is rules.burning(long, short, alert, target, 10)
        for column, slices in ((remaining, None), (of_time, 500.0)):
            expected = rules.budget_remaining(short, target, slices)
            assert column[place] == pytest.approx(np.nan if expected is None else expected, nan_ok=True)
