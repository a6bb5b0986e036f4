import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection import grid

MINUTE = 60_000_000
START = 1_700_000_000_000_000


def test_points_that_come_a_little_off_fall_into_their_own_cells() -> None:
    late = np.array([0, 2, -1, 3, 0, -2]) * 1_000_000
    found = grid.grid(START + MINUTE * np.arange(6) + late, np.arange(6.0))
    assert len(found.values) == 6
    np.testing.assert_array_equal(found.values, np.arange(6.0))


def test_a_gap_is_nan_and_several_points_of_a_cell_are_averaged() -> None:
    found = grid.grid(START + MINUTE * np.array([0, 1, 2, 5, 5, 1]), [1.0, 2.0, 3.0, 6.0, 8.0, 4.0])
    np.testing.assert_array_equal(found.values, [1.0, 3.0, 3.0, np.nan, np.nan, 7.0])
    assert (found.at(5), found.averaged) == (START + 5 * MINUTE, 1)


def test_a_long_series_is_averaged_to_fit() -> None:
    count = 3 * grid.LONGEST
    found = grid.grid(START + MINUTE * np.arange(count), np.arange(count, dtype=float))
    assert (found.averaged, found.step) == (3, 3 * MINUTE)
    assert len(found.values) <= grid.LONGEST + 1
    assert found.values[1000] == pytest.approx(3001)


@given(
    steps=st.lists(st.integers(-MINUTE, 10**15), max_size=30),
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30),
)
def test_no_input_raises_or_makes_more_cells_than_may_be(steps: list[int], values: list[float]) -> None:
    count = min(len(steps), len(values))
    at = START + np.cumsum(np.array(steps[:count], np.int64))
    found = grid.grid(at, values[:count])
    assert len(found.values) <= grid.LONGEST + 1
    plain = grid.standardised(found.values)
    assert np.isfinite(plain[~np.isnan(found.values)]).all()
    assert np.isfinite(found.values).any() == bool(np.any(np.abs(values[:count]) <= 1e300))


def test_only_short_gaps_are_bridged() -> None:
    nan = np.nan
    values = np.array([nan, 0.0, nan, nan, 3.0, nan, nan, nan, 7.0, nan])
    np.testing.assert_array_equal(grid.filled(values, 2), [nan, 0.0, 1.0, 2.0, 3.0, nan, nan, nan, 7.0, nan])


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        grid.grid([1, 2], [1.0])
