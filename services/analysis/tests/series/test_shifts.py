import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series.shifts import LEAST_BEFORE, MOST, Shift, shift

NAN = float("nan")


def of(before: list[float], after: list[float]) -> Shift | None:
    return shift(np.array([*before, *after]), len(before))


def test_a_series_moved_by_many_of_its_own_deviations() -> None:
    found = of([10, 11, 9, 10, 11, 9, 10], [30, 31])
    assert found is not None
    assert (found.before, found.after) == (10.0, 30.5)
    assert found.deviations == pytest.approx(20.5 / 1.4826)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([10, 11, 9, 10, 11, 9, 10], [11, 12]),
        # A fifth of its size is not passed, however calm it was.
        ([100.0] * 10, [119.0]),
        ([10] * (LEAST_BEFORE - 1), [1000]),
        ([10] * 10, [NAN, NAN]),
        ([10] * 10, [10]),
        ([0] * 10, [0]),
        ([], []),
    ],
)
def test_what_is_no_move(before: list[float], after: list[float]) -> None:
    assert of(before, after) is None


def test_of_a_series_that_never_varied_any_change_is_the_most() -> None:
    found = of([0.0] * 10, [1e-9])
    assert found is not None
    assert found.deviations == MOST


def test_slices_without_data_say_nothing() -> None:
    whole = of([10, 11, 9, 10, 11], [40])
    assert of([10, NAN, 11, 9, NAN, 10, 11], [NAN, 40, NAN]) == whole


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(NAN), max_size=40),
    split=st.integers(0, 40),
    power=st.integers(-20, 20),
)
def test_the_unit_of_a_series_does_not_matter(values: list[float], split: int, power: int) -> None:
    one, other = (shift(np.array(values) * scale, split) for scale in (1.0, 2.0**power))
    assert (one is None) is (other is None)
    if one is not None and other is not None:
        assert other.deviations == one.deviations
        assert 5 <= one.deviations <= MOST
