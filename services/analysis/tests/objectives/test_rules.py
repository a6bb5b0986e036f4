from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.objectives import rules
from plumbline_analysis.objectives.rules import BurnAlert, Counts, Standing, settle
from plumbline_common.schemas import AlertSeverity, VerdictState

MET, AT_RISK, VIOLATED, NO_DATA = VerdictState.MET, VerdictState.AT_RISK, VerdictState.VIOLATED, VerdictState.NO_DATA
DAY = 86_400.0


@pytest.mark.parametrize(
    ("good", "total", "target", "remaining", "burn"),
    [
        (1000, 1000, 0.99, 1.0, 0.0),
        (995, 1000, 0.99, 0.5, 0.5),
        (990, 1000, 0.99, 0.0, 1.0),
        (980, 1000, 0.99, -1.0, 2.0),
        (856, 1000, 0.99, -13.4, 14.4),
        (0, 10, 0.5, -1.0, 2.0),
    ],
)
def test_budget_and_burn_rate(good: int, total: int, target: float, remaining: float, burn: float) -> None:
    counts = Counts(good, total)
    assert rules.budget_remaining(counts, target) == pytest.approx(remaining)
    assert rules.burn_rate(counts, target) == pytest.approx(burn)


def test_without_events_there_is_neither() -> None:
    assert rules.budget_remaining(Counts(0, 0), 0.99) is None
    assert rules.burn_rate(Counts(0, 0), 0.99) is None
    assert Counts(0, 0).sli is None


@given(
    slices=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=50),
    target=st.fractions(Fraction(1, 100), Fraction(9999, 10_000)),
)
def test_budget_and_burn_rate_are_what_exact_arithmetic_says(slices: list[tuple[int, int]], target: Fraction) -> None:
    good, bad = sum(each[0] for each in slices), sum(each[1] for each in slices)
    counts = Counts(good, good + bad)
    if good + bad == 0:
        assert rules.burn_rate(counts, float(target)) is None
        return
    exact = Fraction(bad, good + bad) / (1 - target)
    assert rules.burn_rate(counts, float(target)) == pytest.approx(float(exact))
    assert rules.budget_remaining(counts, float(target)) == pytest.approx(float(1 - exact), rel=1e-9, abs=1e-9)


def test_thirty_days_have_the_windows_of_the_workbook() -> None:
    assert rules.burn_alerts(30 * DAY, short_floor=60, long_floor=300) == (
        BurnAlert(3600, 300, 14.4, AlertSeverity.PAGE),
        BurnAlert(21_600, 1800, 6.0, AlertSeverity.PAGE),
        BurnAlert(DAY, 7200, 3.0, AlertSeverity.TICKET),
        BurnAlert(3 * DAY, 21_600, 1.0, AlertSeverity.TICKET),
    )
    # 2 %, 5 % and 10 % of the budget.
    spent = [
        alert.rate * alert.long / (30 * DAY) for alert in rules.burn_alerts(30 * DAY, short_floor=60, long_floor=300)
    ]
    assert spent == pytest.approx([0.02, 0.05, 0.1, 0.1])


def test_shorter_windows_scale_down_to_the_floors_and_never_beyond_themselves() -> None:
    assert rules.burn_alerts(15 * DAY, short_floor=60, long_floor=300)[0] == BurnAlert(1800, 150, 14.4)
    assert rules.burn_alerts(DAY, short_floor=60, long_floor=300) == (
        BurnAlert(300, 60, 14.4),
        BurnAlert(720, 60, 6.0),
        BurnAlert(2880, 240, 3.0, AlertSeverity.TICKET),
        BurnAlert(8640, 720, 1.0, AlertSeverity.TICKET),
    )
    assert rules.burn_alerts(120, short_floor=60, long_floor=300)[0] == BurnAlert(120, 60, 1.0)


def test_a_floor_does_not_make_an_alert_wait_until_the_budget_is_gone() -> None:
    page, _, _, ticket = rules.burn_alerts(120, short_floor=6, long_floor=20)
    assert page == BurnAlert(20, 6, 3.0)
    assert page.rate * page.long / 120 == 0.5
    assert ticket == BurnAlert(20, 6, 1.0, AlertSeverity.TICKET)


ALERT = BurnAlert(3600, 300, 14.4)


def test_it_burns_only_when_both_windows_do() -> None:
    fast, slow = Counts(80, 100), Counts(99, 100)
    assert rules.burning(fast, fast, ALERT, 0.99, 10)
    assert not rules.burning(fast, slow, ALERT, 0.99, 10)
    assert not rules.burning(slow, fast, ALERT, 0.99, 10)
    assert not rules.burning(fast, Counts(0, 0), ALERT, 0.99, 10)


def test_low_traffic_does_not_burn() -> None:
    assert not rules.burning(Counts(0, 9), Counts(0, 9), ALERT, 0.99, 10)


@pytest.mark.parametrize(
    ("counts", "burning", "stale", "expected"),
    [
        (Counts(100, 100), False, False, MET),
        (Counts(100, 100), True, False, AT_RISK),
        (Counts(99, 100), True, False, VIOLATED),
        (Counts(50, 100), False, False, VIOLATED),
        (Counts(9, 9), False, False, NO_DATA),
        (Counts(0, 0), False, False, NO_DATA),
        (Counts(100, 100), False, True, NO_DATA),
    ],
)
def test_the_state_of_an_objective(counts: Counts, burning: bool, stale: bool, expected: VerdictState) -> None:
    found = rules.objective_state(counts, 0.99, is_burning=burning, minimum=10, stale=stale)
    assert found is expected


def test_a_budget_of_time_is_that_of_the_whole_window() -> None:
    # Of 360 slices, 5 % may be bad: 18. Two bad ones of the first eight leave 16 of them.
    assert rules.budget_remaining(Counts(6, 8), 0.95, 360) == pytest.approx(16 / 18)
    assert rules.budget_remaining(Counts(342, 360), 0.95, 360) == pytest.approx(0)
    early: dict[str, Any] = {"is_burning": True, "minimum": 3, "stale": False}
    assert rules.objective_state(Counts(6, 8), 0.95, slices=360, **early) is AT_RISK
    assert rules.objective_state(Counts(6, 8), 0.95, **early) is VIOLATED


def settled(*seen: VerdictState, hold: int = 3) -> list[VerdictState | None]:
    standing, states = Standing(), []
    for state in seen:
        standing = settle(standing, state, hold)
        states.append(standing.state)
    return states


def test_trouble_shows_at_once_and_recovery_must_hold() -> None:
    assert settled(MET, AT_RISK, VIOLATED, MET, MET, MET) == [MET, AT_RISK, VIOLATED, VIOLATED, VIOLATED, MET]


def test_a_recovery_that_does_not_hold_begins_anew() -> None:
    assert settled(AT_RISK, MET, MET, AT_RISK, MET, MET, MET)[-2:] == [AT_RISK, MET]
    assert settled(VIOLATED, MET, AT_RISK, MET, AT_RISK)[-1] is VIOLATED


def test_losing_data_must_hold_too() -> None:
    assert settled(MET, NO_DATA, NO_DATA, MET) == [MET, MET, MET, MET]
    assert settled(MET, NO_DATA, NO_DATA, NO_DATA)[-1] is NO_DATA
    assert settled(NO_DATA, AT_RISK)[-1] is AT_RISK


@given(st.lists(st.sampled_from(list(VerdictState)), max_size=40), st.integers(1, 5))
def test_no_state_recovers_without_having_been_seen_often_enough(seen: list[VerdictState], hold: int) -> None:
    states = settled(*seen, hold=hold)
    order = [MET, NO_DATA, AT_RISK, VIOLATED]
    for place in range(1, len(states)):
        before, after = states[place - 1], states[place]
        if before is not after and not (after in (AT_RISK, VIOLATED) and order.index(after) > order.index(before)):  # type: ignore[arg-type]
            assert seen[place - hold + 1 : place + 1] == [after] * hold


def test_thresholds_compare_as_they_say() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    for op, expected in (("lte", [1, 1, 0]), ("lt", [1, 0, 0]), ("gte", [0, 1, 1]), ("gt", [0, 0, 1])):
        found = rules.satisfies(values, op, 2.0)  # type: ignore[arg-type]
        assert found[:3].tolist() == expected
        assert np.isnan(found[3])


def test_bad_events_are_the_rest_of_the_total() -> None:
    bad, total = np.array([1.0, np.nan, np.nan]), np.array([10.0, 5.0, np.nan])
    good, whole = rules.events(bad, total, numerator_is_bad=True)
    assert (good.tolist(), whole.tolist()) == ([9, 5, 0], [10, 5, 0])
    good, whole = rules.events(bad, total, numerator_is_bad=False)
    assert (good.tolist(), whole.tolist()) == ([1, 0, 0], [10, 5, 0])


def test_a_time_slice_is_good_when_enough_of_it_is() -> None:
    good, total = rules.time_slices(np.array([9.0, 8.0, 0.0]), np.array([10.0, 10.0, 0.0]), 0.9)
    assert (good.tolist(), total.tolist()) == ([1, 0, 0], [1, 1, 0])


# --- Budget policy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "before", "after"),
    [
        (0.49, 0.0, 0.0),
        (0.5, 0.0, 0.5),
        (1.2, 0.0, 1.0),
        (0.99, 0.5, 0.5),
        (0.46, 0.5, 0.5),
        (0.44, 0.5, 0.0),
        (0.91, 1.0, 1.0),
        (0.89, 1.0, 0.5),
        (-3.0, 1.0, 0.0),
        (None, 0.5, 0.5),
        (None, 0.7, 0.5),
    ],
)
def test_a_rule_applies_from_its_part_on_and_a_tenth_below(spent: float | None, before: float, after: float) -> None:
    assert rules.reached([0.5, 1.0], spent, before) == after


@given(st.lists(st.floats(0.01, 10), unique=True, max_size=5), st.lists(st.floats(-5, 12), max_size=20))
def test_a_rule_that_is_reached_stays_while_the_budget_hovers(parts: list[float], spents: list[float]) -> None:
    before = 0.0
    for spent in spents:
        now = rules.reached(parts, spent, before)
        assert now == 0.0 or now in parts
        assert all(part <= now for part in parts if spent >= part)
        assert now == 0.0 or spent >= 0.9 * now - 1e-6
        before = now
