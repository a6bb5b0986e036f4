import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plumbline_analysis.series.counters import FIRST_SPAN
from plumbline_analysis.series.histograms import (
    Point,
    at_most,
    buckets,
    coarsened,
    increase,
    merged,
    quantile,
    quantiles,
)
from plumbline_analysis.sources.batch import Layout

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND


def explicit(counts: tuple[int, ...], bounds: tuple[float, ...], at: int = T0, start: int = T0 - SECOND) -> Point:
    return Point(1, start, at, Layout(bounds), sum(counts), 1.0, counts)


def exponential(scale: int, offset: int, counts: tuple[int, ...], zeros: int = 0, at: int = T0) -> Point:
    total = sum(counts) + zeros
    return Point(1, T0 - SECOND, at, Layout(scale=scale), total, 1.0, counts, offset, zeros)


def le(point: Point, bound: float) -> float:
    return float(at_most(buckets(point), np.array([bound]))[0])


def test_counts_at_most_a_bound_are_cumulative_and_linear_inside_a_bucket() -> None:
    point = explicit((10, 20, 5), (0.1, 0.3))
    assert [le(point, bound) for bound in (0.0, 0.05, 0.1, 0.2, 0.3, 9.0, math.inf)] == [0, 5, 10, 20, 30, 30, 35]


def test_the_bucket_below_a_first_bound_that_is_not_positive_has_no_width() -> None:
    point = explicit((10, 20, 5), (-1.0, 1.0))
    assert [le(point, bound) for bound in (-2.0, -1.0, 0.0)] == [0, 10, 20]


def test_quantiles_lie_where_a_straight_line_puts_them() -> None:
    point = buckets(explicit((0, 80, 20, 0), (0.1, 0.2, 0.4)))
    assert quantile(point, 0.5) == pytest.approx(0.1 + 0.1 * 50 / 80)
    assert quantile(point, 0.8) == pytest.approx(0.2)
    assert quantile(point, 0.95) == pytest.approx(0.2 + 0.2 * 15 / 20)


def test_a_quantile_never_leaves_the_finite_bounds() -> None:
    assert quantile(buckets(explicit((0, 0, 7), (0.1, 0.2))), 0.99) == 0.2
    assert quantile(buckets(explicit((7, 0, 0), (-3.0, 0.2))), 0.5) == -3.0


def test_what_is_empty_or_unbounded_has_no_quantile() -> None:
    assert math.isnan(quantile(buckets(explicit((0, 0), (1.0,))), 0.5))
    assert math.isnan(quantile(buckets(explicit((4,), ())), 0.5))
    assert math.isnan(quantile(merged([]), 0.5))


def test_an_exponential_histogram_has_the_bounds_of_its_base() -> None:
    # Scale 0: base 2. Buckets 1 and 2 are (2, 4] and (4, 8].
    found = buckets(exponential(0, 1, (3, 5), zeros=2))
    assert found.lower.tolist() == [0, 2, 4]
    assert found.upper.tolist() == [0, 4, 8]
    assert le(exponential(0, 1, (3, 5), zeros=2), 0.0) == 2
    assert le(exponential(0, 1, (3, 5), zeros=2), 6.0) == 7.5


def test_negative_exponential_buckets_mirror_the_positive_ones() -> None:
    point = Point(1, 0, T0, Layout(scale=0, zero_threshold=0.5), 9, 0.0, (4,), 0, 1, 1, (3, 1))
    found = buckets(point)
    assert found.lower.tolist() == [-8, -4, -0.5, 1]
    assert found.upper.tolist() == [-4, -2, 0.5, 2]
    assert found.count.tolist() == [1, 3, 1, 4]


def test_histograms_of_different_layouts_add_up() -> None:
    whole = merged([buckets(explicit((10, 10), (1.0,))), buckets(explicit((0, 10, 0), (0.5, 1.5)))])
    assert whole.total == 30
    assert at_most(whole, np.array([1.0]))[0] == 10 + 5


def test_the_increase_is_the_difference_bucket_by_bucket() -> None:
    before, after = explicit((1, 2, 3), (0.1, 0.3)), explicit((1, 5, 4), (0.1, 0.3), at=T0 + SECOND)
    added = increase(after, before, first_span=FIRST_SPAN)
    assert added is not None
    assert (added.counts, added.count) == ((0, 3, 1), 4)


def test_a_bucket_that_fell_is_a_reset() -> None:
    before, after = explicit((1, 9, 3), (0.1, 0.3)), explicit((20, 1, 0), (0.1, 0.3), at=T0 + SECOND)
    assert increase(after, before, first_span=FIRST_SPAN) == after


def test_first_points_follow_the_rule_of_counters() -> None:
    fresh = explicit((1, 2), (1.0,))
    assert increase(fresh, None, first_span=FIRST_SPAN) == fresh
    for start in (0, T0, T0 - FIRST_SPAN - 1):
        assert increase(explicit((1, 2), (1.0,), start=start), None, first_span=FIRST_SPAN) is None


def test_new_bounds_make_a_new_baseline() -> None:
    before, after = explicit((1, 2), (1.0,)), explicit((2, 3), (2.0,), at=T0 + SECOND)
    assert increase(after, before, first_span=FIRST_SPAN) is None
    assert increase(exponential(0, 0, (9,), at=T0 + SECOND), before, first_span=FIRST_SPAN) is None


def test_a_coarser_scale_is_evened_out() -> None:
    before = exponential(1, 0, (1, 1, 1, 1))  # (1, 4] in four buckets
    after = exponential(0, -1, (5, 3, 2), at=T0 + SECOND)  # (0.5, 1], (1, 2], (2, 4]
    added = increase(after, before, first_span=FIRST_SPAN)
    assert added is not None
    assert (added.offset, added.counts) == (-1, (5, 1, 0))


_COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=12).map(tuple)


@given(counts=_COUNTS, offset=st.integers(-20, 20), scale=st.integers(-2, 4), down=st.integers(0, 4))
def test_coarsening_keeps_every_observation_on_its_side_of_a_bound(
    counts: tuple[int, ...], offset: int, scale: int, down: int
) -> None:
    fine = exponential(scale, offset, counts)
    coarse = coarsened(fine, scale - down)
    assert sum(coarse.counts) == sum(counts)
    edges = buckets(coarse).upper
    within = at_most(buckets(fine), edges * (1 + 1e-12))
    assert within == pytest.approx(at_most(buckets(coarse), edges), abs=1e-6)


@given(
    values=st.lists(st.floats(0.001, 9.9), min_size=1, max_size=200),
    bounds=st.lists(st.floats(0.01, 9.0), min_size=1, max_size=10, unique=True),
    q=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], bounds: list[float], q: float) -> None:
    edges = np.array(sorted(bounds))
    place = np.searchsorted(edges, values, side="left")
    counts = tuple(np.bincount(place, minlength=len(edges) + 1).tolist())
    true = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    assume(true <= edges[-1])
    bucket = int(np.searchsorted(edges, true, side="left"))
    lower = 0.0 if bucket == 0 else edges[bucket - 1]
    assert lower - 1e-12 <= quantile(buckets(explicit(counts, tuple(edges.tolist()))), q) <= edges[bucket] + 1e-12


@given(
    parts=st.lists(st.tuples(_COUNTS, st.integers(-5, 5), st.integers(-1, 2)), min_size=1, max_size=4),
    bound=st.floats(0.0, 1e4),
)
def test_a_merged_histogram_counts_what_its_parts_count(
    parts: list[tuple[tuple[int, ...], int, int]], bound: float
) -> None:
    points = [buckets(exponential(scale, offset, counts)) for counts, offset, scale in parts]
    apart = sum(float(at_most(point, np.array([bound]))[0]) for point in points)
    assert float(at_most(merged(points), np.array([bound]))[0]) == pytest.approx(apart)


def test_the_widest_bucket_reaches_to_infinity() -> None:
    widest = buckets(exponential(-10, 0, (3,)))
    assert (widest.lower.tolist(), widest.upper.tolist()) == ([0, 1], [0, math.inf])
    assert quantile(widest, 0.5) == 1


@given(
    st.sampled_from([(0.1, 0.2), (-1.0, 1.0, 3.0), (0.0,), ()]),
    st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_many_quantiles_at_once_are_those_of_each(bounds: tuple[float, ...], rows: list[list[int]], q: float) -> None:
    points = [explicit(tuple(row[: len(bounds) + 1]), bounds) for row in rows]
    points_up = [exponential(0, -1, tuple(row[:3]), row[3]) for row in rows]
    for group in (points, points_up):
        each = [buckets(point) for point in group]
        counts = np.array([one.count for one in each]).astype(np.int64)
        found = quantiles(each[0].lower, each[0].upper, counts, q)
        np.testing.assert_allclose(found, [quantile(one, q) for one in each])
