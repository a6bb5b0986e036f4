import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection.lately import before_the_first, lately


def curve(*scores: float) -> list[float]:
    return lately(np.array(scores), before_the_first()).tolist()


def test_it_rises_with_an_event_and_halves_in_a_hundred_and_fifty_points_after_it() -> None:
    found = curve(*[0.1] * 500, *[2.0] * 20, *[0.0] * 600)
    assert found[499] == pytest.approx(0.1, rel=0.01)
    assert found[519] > 5 * found[499]
    assert found[519 + 450] == pytest.approx(found[519] / 8, rel=0.01)


def test_what_lasts_counts_more_than_what_is_over_at_once() -> None:
    assert max(curve(*[1.0] * 30)) > max(curve(3.0, *[0.0] * 29))


def test_missing_scores_change_nothing() -> None:
    assert curve(1.0, np.nan, np.nan, 1.0)[3] == curve(1.0, 1.0)[1]
    assert curve(np.nan) == [0.0]


@given(scores=st.lists(st.one_of(st.floats(0, 10), st.just(float("nan"))), max_size=60), cut=st.integers(0, 60))
def test_a_curve_that_is_taken_up_again_goes_on_as_if_uninterrupted(scores: list[float], cut: int) -> None:
    state, given = before_the_first(), np.array(scores)
    parts = [lately(given[:cut], state), lately(given[cut:], state)]
    np.testing.assert_array_equal(np.concatenate(parts), lately(given, before_the_first()))
