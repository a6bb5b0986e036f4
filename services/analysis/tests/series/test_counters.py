from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series.counters import FIRST_SPAN, increases, stream_order

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND


def of(rows: list[tuple[int, int, int, float]], *, monotonic: bool = True) -> tuple[list[float], list[float]]:
    """Increase and seconds of rows (signal, start, time, value), in the order of the rows."""
    signal, start, time = (np.array([row[column] for row in rows], np.int64) for column in range(3))
    value = np.array([row[3] for row in rows], np.float64)
    order = stream_order(signal, start, time)
    increase, seconds = increases(signal[order], start[order], time[order], value[order], monotonic=monotonic)
    back = np.argsort(order)
    return increase[back].tolist(), seconds[back].tolist()


def test_a_cumulative_series_increases_by_its_differences() -> None:
    rows = [(1, T0, T0 + n * SECOND, value) for n, value in enumerate([5.0, 7.0, 7.0, 12.0], 1)]
    assert of(rows) == ([5, 2, 0, 5], [1, 1, 1, 1])


def test_an_announced_reset_counts_from_the_new_start() -> None:
    rows = [(1, T0, T0 + 10 * SECOND, 100.0), (1, T0 + 11 * SECOND, T0 + 20 * SECOND, 30.0)]
    assert of(rows) == ([100, 30], [10, 9])


def test_a_falling_value_is_a_reset_that_nobody_announced() -> None:
    rows = [(1, 0, T0 + 10 * SECOND, 100.0), (1, 0, T0 + 20 * SECOND, 30.0)]
    increase, seconds = of(rows)
    assert np.isnan(increase[0])
    assert (increase[1], seconds[1]) == (30, 10)


def test_what_is_not_monotonic_may_fall() -> None:
    rows = [(1, T0, T0 + 10 * SECOND, 100.0), (1, T0, T0 + 20 * SECOND, 30.0)]
    assert of(rows, monotonic=False)[0] == [100, -70]


def test_two_processes_of_one_identity_do_not_disturb_each_other() -> None:
    rows = [
        (1, T0, T0 + 10 * SECOND, 100.0),
        (1, T0 + SECOND, T0 + 11 * SECOND, 3.0),
        (1, T0, T0 + 20 * SECOND, 110.0),
        (1, T0 + SECOND, T0 + 21 * SECOND, 5.0),
    ]
    assert of(rows)[0] == [100, 3, 10, 2]


@pytest.mark.parametrize("start", [0, T0, T0 - FIRST_SPAN - 1])
def test_a_first_point_whose_past_was_not_seen_is_a_baseline(start: int) -> None:
    increase, _ = of([(1, start, T0, 1e6), (1, start, T0 + SECOND, 1e6 + 1)])
    assert np.isnan(increase[0])
    assert increase[1] == 1


def test_nothing_gives_nothing() -> None:
    assert of([]) == ([], [])


def slow_total(rows: list[tuple[int, int, int, float]]) -> Fraction:
    """What was added in all, told one point at a time."""
    total = Fraction(0)
    last: dict[tuple[int, int], float] = {}
    for signal, start, time, value in sorted(rows, key=lambda row: row[2]):
        before = last.get((signal, start))
        if before is None:
            if 0 < start < time and time - start <= FIRST_SPAN:
                total += Fraction(value)
        elif value >= before:
            total += Fraction(value) - Fraction(before)
        else:
            total += Fraction(value)
        last[signal, start] = value
    return total


_ROWS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from([0, T0 - 400 * SECOND, T0, T0 + 5 * SECOND]),
        st.integers(T0 - 20 * SECOND, T0 + 60 * SECOND),
        st.integers(0, 10**6).map(float),
    ),
    max_size=40,
    unique_by=lambda row: (row[0], row[1], row[2]),
)


@given(rows=_ROWS, seed=st.randoms())
def test_any_order_of_arrival_adds_up_to_what_a_slow_count_says(rows, seed) -> None:  # type: ignore[no-untyped-def]
    seed.shuffle(rows)
    assert np.nansum(of(rows)[0]) == slow_total(rows)


@given(rows=_ROWS, cut=st.integers(0, 40))
def test_reading_in_two_parts_with_the_last_point_before_loses_and_doubles_nothing(
    rows: list[tuple[int, int, int, float]], cut: int
) -> None:
    rows.sort(key=lambda row: row[2])
    before, after = rows[:cut], rows[cut:]
    last = {(row[0], row[1]): row for row in before}
    carried = [last[stream] for stream in {(row[0], row[1]) for row in after} if stream in last]
    second = of(carried + after)[0][len(carried) :]
    assert np.nansum(of(before)[0]) + np.nansum(second) == np.nansum(of(rows)[0])
