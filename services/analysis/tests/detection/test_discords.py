from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import discords, grid

MINUTE = 60_000_000
START = 1_700_000_000_000_000
Float64 = npt.NDArray[np.float64]


def slow_profile(values: Float64, window: int) -> Float64:
    """By the definition: all pairs of windows, each brought to mean 0 and deviation 1."""
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    deviations = windows.std(axis=1, keepdims=True)
    flat = deviations[:, 0] < 1e-9
    shapes = (windows - windows.mean(axis=1, keepdims=True)) / np.where(deviations < 1e-9, 1, deviations)
    distance = np.sqrt(np.sum((shapes[:, None] - shapes[None]) ** 2, axis=2))
    distance[flat[:, None] & flat] = 0
    distance[flat[:, None] ^ flat] = np.sqrt(window)
    places = np.arange(len(windows))
    distance[np.abs(places[:, None] - places) < np.ceil(window / 4)] = np.inf
    missing = np.isnan(windows).any(axis=1)
    distance[missing], distance[:, missing] = np.inf, np.inf
    nearest = distance.min(axis=1)
    return np.where(np.isinf(nearest), np.nan, nearest)


@given(
    seed=st.integers(0, 1000),
    count=st.integers(16, 160),
    window=st.integers(2, 24),
    gaps=st.lists(st.integers(0, 159), max_size=3),
    flats=st.lists(st.tuples(st.integers(0, 159), st.integers(1, 40)), max_size=3),
)
@settings(max_examples=30)
def test_the_profile_is_what_comparing_all_windows_gives(
    seed: int, count: int, window: int, gaps: list[int], flats: list[tuple[int, int]]
) -> None:
    window = min(window, count // 2)
    values = np.cumsum(np.random.default_rng(seed).normal(size=count)) + 100
    for begin, length in flats:
        values[begin : begin + length] = values[min(begin, count - 1)]
    values[[place for place in gaps if place < count]] = np.nan
    distance, nearest = discords.matrix_profile(values, window)
    np.testing.assert_allclose(distance, slow_profile(values, window), atol=1e-5)
    found = np.flatnonzero(~np.isnan(distance))
    assert (np.abs(nearest[found] - found) >= window / 4).all()
    assert (nearest[np.isnan(distance)] == -1).all()


def test_the_profile_is_exact_over_more_than_a_tile() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=1200))
    np.testing.assert_allclose(discords.matrix_profile(values, 40)[0], slow_profile(values, 40), atol=1e-6)


def test_scale_and_offset_change_nothing() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=400))
    plain, other = (discords.matrix_profile(each, 30)[0] for each in (values, 1e-9 * values + 5))
    np.testing.assert_allclose(other, plain, atol=1e-4)


def series(days: int = 10, day: int = 288) -> Float64:
    phase = np.arange(days * day) / day * 2 * np.pi
    return 100 + 40 * np.sin(phase) + np.random.default_rng(1).normal(size=days * day)


def found(values: Float64, window: int = 288) -> tuple[discords.Discord, ...]:
    return discords.found(grid.grid(START + MINUTE * np.arange(len(values)), values), window)


def test_the_day_that_is_like_no_other_is_the_first_discord() -> None:
    values = series()
    values[1500:1600] = values[1500:1600][::-1]
    first, *others = found(values)
    assert first.begin <= START + 1600 * MINUTE
    assert first.end >= START + 1500 * MINUTE
    assert first.end - first.begin == 288 * MINUTE
    assert first.distance > 3 * first.usual
    assert all(other.distance <= first.distance for other in others)


def test_discords_do_not_overlap() -> None:
    spans = sorted((each.begin, each.end) for each in found(series(), 64))
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_short_gap_hides_no_discord_and_a_long_one_is_none() -> None:
    values = series()
    values[1500:1600] = values[1500:1600][::-1]
    values[::20] = np.nan
    values[2000:2200] = np.nan
    first = found(values)[0]
    assert first.begin <= START + 1600 * MINUTE <= first.end + 288 * MINUTE


@pytest.mark.parametrize("values", [[], [1.0] * 9, [1.0] * 600, [np.nan] * 600])
def test_what_has_no_shape_has_no_discord(values: list[float]) -> None:
    assert found(np.array(values), 64) == ()
