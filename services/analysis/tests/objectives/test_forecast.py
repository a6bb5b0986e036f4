"""When a budget will be spent."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.objectives import forecast
from plumbline_analysis.objectives.forecast import Exhaustion
from plumbline_analysis.objectives.rules import Counts

HOUR, DAY = 3600.0, 86_400.0
WINDOW = 30 * DAY


def steady(bad: float, a_second: float = 10.0) -> dict[float, Counts]:
    """The same part of the units is bad all the time."""
    spans = (300, 1800, HOUR, 2 * HOUR, 6 * HOUR, DAY, 3 * DAY)
    return {span: Counts(span * a_second * (1 - bad), span * a_second) for span in spans}


def spent_at(found: Exhaustion | None) -> float | None:
    return None if found is None else found.expected


def ask(spans: dict[float, Counts], remaining: float = 0.5, left: float | None = None) -> Exhaustion | None:
    return forecast.exhaustion(remaining, spans, 6 * HOUR, 0.999, window=WINDOW, left=left)


def test_a_rolling_window_loses_what_is_spent_less_what_leaves_it() -> None:
    # 2 budgets a window come, half a budget leaves: 1.5 in 30 days, so half a budget in 10.
    assert spent_at(ask(steady(0.002))) == pytest.approx(10 * DAY)
    assert spent_at(ask(steady(0.002), remaining=1.0)) == pytest.approx(15 * DAY)


def test_in_a_calendar_s_window_nothing_leaves_and_at_its_end_the_budget_is_whole_again() -> None:
    assert spent_at(ask(steady(0.002), left=20 * DAY)) == pytest.approx(7.5 * DAY)
    assert spent_at(ask(steady(0.002), left=7 * DAY)) is None
    assert ask(steady(0.0005), left=3 * DAY) is None


def test_what_burns_no_faster_than_it_may_is_never_spent() -> None:
    assert spent_at(ask(steady(0.0009))) is None
    assert ask(steady(0.0)) is None
    assert ask({span: Counts(0, 0) for span in steady(0)}) is None


def test_a_budget_that_is_spent_is_not_forecast() -> None:
    assert ask(steady(0.01), remaining=0.0) is None
    assert ask(steady(0.01), remaining=-2.0) is None


def test_what_comes_in_bursts_is_less_sure_than_what_is_steady() -> None:
    even = steady(0.003)
    bursts = dict(even)
    for span, share in ((300, 0.0), (1800, 0.012), (HOUR, 0.006), (2 * HOUR, 0.009)):
        bursts[span] = Counts(span * 10 * (1 - share), span * 10)
    calm, rough = ask(even), ask(bursts)
    assert calm is not None
    assert rough is not None
    assert calm.expected == rough.expected
    assert calm.latest is not None
    assert rough.earliest < calm.earliest
    assert rough.latest is None or rough.latest > calm.latest
    assert forecast.dispersion(even) == 1.0 < forecast.dispersion(bursts)


counts = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=7, max_size=7)


@given(counts, st.floats(0.001, 1), st.none() | st.floats(1, WINDOW))
def test_the_earliest_is_not_after_the_latest(
    added: list[tuple[int, int]], remaining: float, left: float | None
) -> None:
    spans, good, total = {}, 0, 0
    for span, (more, bad) in zip(steady(0), added, strict=True):
        good, total = good + more, total + more + bad
        spans[span] = Counts(good, total)
    found = ask(spans, remaining, left)
    if found is not None:
        moments = [found.earliest, *(each or math.inf for each in (found.expected, found.latest))]
        assert moments == sorted(moments)
        assert all(math.isfinite(each) and each > 0 for each in (found.earliest, found.expected or 1))
        times = {span: Counts(3 * each.good, 3 * each.total) for span, each in spans.items()}
        # More of the same: what is expected stays, and is surer.
        again = ask(times, remaining, left)
        assert again is None or again.expected == pytest.approx(found.expected)
        assert again is None or again.earliest >= found.earliest * (1 - 1e-9)


@pytest.mark.parametrize("burst", [1, 20])
def test_four_times_of_five_it_comes_between_the_two(burst: int) -> None:
    """Bad units that come alone, and in bursts of 20, at a rate of 3: the rate itself lies in the interval."""
    made = np.random.default_rng(5)
    inside = 0
    trials = 600
    for _ in range(trials):
        edges = [0.0, *steady(0)]
        bad = np.cumsum([burst * made.poisson(0.03 * (b - a) / burst / 10) for a, b in itertools.pairwise(edges)])
        spans = {span: Counts(span - each, span) for span, each in zip(steady(0), bad.tolist(), strict=True)}
        found = ask(spans, remaining=1.0)
        truth = WINDOW / 3
        if found is not None and found.earliest <= truth and (found.latest is None or found.latest >= truth):
            inside += 1
    assert 0.7 < inside / trials < 0.97
