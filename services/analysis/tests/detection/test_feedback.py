from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection.feedback import HIGHEST, LOWEST, MARGIN, propose

bars = st.integers(round(LOWEST * 100), round(HIGHEST * 100)).map(lambda hundredths: hundredths / 100)
peaks = st.lists(st.floats(0.3, 6) | st.sampled_from([0.99, 1.0, 1.1, 1.5, 2.0, 1e9]), max_size=30)


@given(true=peaks, false=peaks, bar=bars)
def test_the_bar_stays_within_its_bounds_and_is_in_hundredths(
    true: list[float], false: list[float], bar: float
) -> None:
    proposed = propose(true, false, bar)
    assert LOWEST <= proposed <= HIGHEST
    assert proposed == round(proposed, 2)


@given(true=peaks, false=peaks, bar=bars, peak=st.floats(0.3, 6))
def test_one_more_false_positive_never_lowers_the_bar(
    true: list[float], false: list[float], bar: float, peak: float
) -> None:
    assert propose(true, [*false, peak], bar) >= propose(true, false, bar)


@given(true=peaks, false=peaks, bar=bars, peak=st.floats(0.3, 6))
def test_one_more_true_positive_never_raises_the_bar(
    true: list[float], false: list[float], bar: float, peak: float
) -> None:
    assert propose([*true, peak], false, bar) <= propose(true, false, bar)


@given(true=peaks, false=peaks, bar=bars)
def test_a_raise_loses_true_positives_only_where_they_are_outnumbered(
    true: list[float], false: list[float], bar: float
) -> None:
    proposed = propose(true, false, bar)
    lost = [peak for peak in true if bar <= peak < proposed]
    assert not lost or len(false) > 1.5 * len(lost)


@given(true=peaks, false=peaks, bar=bars)
def test_the_order_of_the_labels_does_not_matter(true: list[float], false: list[float], bar: float) -> None:
    assert propose(true[::-1], false[::-1], bar) == propose(true, false, bar)


@given(false=peaks, bar=bars)
def test_the_bar_never_goes_further_than_a_margin_beyond_the_labels(false: list[float], bar: float) -> None:
    assert propose([], false, bar) <= max([bar, *(peak + MARGIN + 0.01 for peak in false)])


@given(true=peaks, bar=bars)
def test_the_bar_never_falls_further_than_a_margin_below_the_labels(true: list[float], bar: float) -> None:
    assert propose(true, [], bar) >= min([bar, *(peak - MARGIN - 0.01 for peak in true)])


@given(true=peaks, false=peaks, bar=bars)
def test_what_was_applied_is_not_proposed_to_be_undone(true: list[float], false: list[float], bar: float) -> None:
    """From the proposed bar, the same labels lead no further away from where it was."""
    proposed = propose(true, false, bar)
    again = propose(true, false, proposed)
    assert (again - proposed) * (proposed - bar) >= 0


@given(bar=bars)
def test_without_labels_the_bar_stays(bar: float) -> None:
    assert propose([], [], bar) == bar


def test_few_labels_move_nothing() -> None:
    assert propose([], [1.1] * 3, 1.0) == 1.0
    assert propose([], [2.2] * 6, 1.0) == 1.0
    assert propose([1.05] * 3, [], 1.0) == 1.0


def test_false_positives_raise_the_bar_a_margin_above_their_peaks() -> None:
    assert propose([], [1.1] * 4, 1.0) == 1.3
    assert propose([], [2.2] * 8, 1.0) == 2.4


def test_true_positives_among_them_hold_it_back() -> None:
    assert propose([], [1.1] * 6, 1.0) == 1.3
    assert propose([1.4], [1.1] * 6, 1.0) == 1.2
    assert propose([1.2], [1.1] * 6, 1.0) == 1.0
    assert propose([1.2], [1.1] * 7, 1.0) == 1.3
    assert propose([1.2] * 4, [1.1] * 13, 1.0) == 1.0


def test_true_positives_at_the_bar_lower_it_so_that_the_next_are_found() -> None:
    assert propose([1.05] * 12, [], 1.0) == 0.85
