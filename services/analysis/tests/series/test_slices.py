import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series import slices
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Grid, Samples
from plumbline_analysis.sources.batch import Layout
from plumbline_common.schemas import Aggregation

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
GRID = Grid(T0, 10 * SECOND, 3)


def levels(*rows: tuple[int, float, float]) -> Samples:
    """Rows of (signal, seconds after T0, value)."""
    return slices.level_samples(
        np.array([row[0] for row in rows], np.int64),
        np.array([T0 + int(row[1] * SECOND) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


def counted(*rows: tuple[int, float, float], cumulative: bool = True) -> Samples:
    return slices.counter_samples(
        np.array([row[0] for row in rows], np.int64),
        np.full(len(rows), T0 - SECOND, np.int64),
        np.array([T0 + int(row[1] * SECOND) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        cumulative=cumulative,
    )


def same(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected)


def test_a_slice_holds_its_end_but_not_its_start() -> None:
    times = np.array([T0, T0 + 1, T0 + 10 * SECOND, T0 + 10 * SECOND + 1, T0 + 30 * SECOND, T0 + 31 * SECOND])
    assert GRID.place(times).tolist() == [-1, 0, 0, 1, 2, 3]
    assert GRID.ends.tolist() == [T0 + 10 * SECOND, T0 + 20 * SECOND, T0 + 30 * SECOND]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("mean", [3.0, math.nan, 7.0]),
        ("min", [1.0, math.nan, 7.0]),
        ("max", [6.0, math.nan, 7.0]),
        ("last", [6.0, math.nan, 7.0]),
        ("sum", [1.5 + 6.0, math.nan, 7.0]),
        ("p95", [math.nan] * 3),
    ],
)
def test_levels(aggregation: Aggregation, expected: list[float]) -> None:
    samples = levels((1, 1, 1.0), (1, 2, 2.0), (2, 3, 6.0), (1, 25, 7.0))
    same(slices.aggregate(samples, GRID, aggregation), expected)


def test_the_rate_of_a_level_is_its_change_a_second() -> None:
    same(slices.aggregate(levels((1, 1, 5.0), (1, 9, 1.0)), GRID, "rate"), [-0.5, math.nan, math.nan])


def test_the_increase_of_counters_adds_up_over_signals() -> None:
    samples = counted((1, 2, 10.0), (2, 3, 100.0), (1, 12, 15.0), (1, 14, 25.0), (2, 13, 150.0))
    same(slices.total(samples, GRID), [110, 65, math.nan])


def test_the_rate_of_a_counter_does_not_depend_on_when_its_points_fall() -> None:
    # 2 a second, reported every 4 s: slices of 10 s hold two points or three.
    samples = counted(*((1, second, 2.0 * (second + 1)) for second in range(3, 31, 4)))
    same(slices.aggregate(samples, GRID, "rate"), [2, 2, 2])


def test_delta_points_count_as_they_are() -> None:
    samples = counted((1, 2, 10.0), (1, 12, 15.0), cumulative=False)
    same(slices.total(samples, GRID), [10, 15, math.nan])


def point(signal: int, at: float, counts: tuple[int, ...], total: float = 0.0) -> Point:
    time = T0 + int(at * SECOND)
    return Point(signal, T0 - SECOND, time, Layout((0.1, 0.2)), sum(counts), total, counts)


def test_a_histogram_becomes_quantiles_means_and_rates_of_what_each_slice_added() -> None:
    seen = slices.observed(
        [point(1, 1, (4, 0, 0), 0.2), point(1, 11, (4, 10, 0), 1.7), point(2, 12, (0, 10, 0), 1.5)], cumulative=True
    )
    same(slices.distribution(seen, GRID, "p50"), [0.05, 0.15, math.nan])
    same(slices.distribution(seen, GRID, "mean"), [0.05, 0.15, math.nan])
    same(slices.distribution(seen, GRID, "sum"), [0.2, 3.0, math.nan])
    same(slices.distribution(seen, GRID, "rate"), [4 / 2, 1 + 10 / 13, math.nan])
    same(slices.distribution(seen, GRID, "min"), [0.0, 0.1, math.nan])
    same(slices.distribution(seen, GRID, "max"), [0.1, 0.2, math.nan])
    same(slices.distribution(seen, GRID, "last"), [0.05, 0.15, math.nan])
    same(slices.total(slices.count_samples(seen, 0.15), GRID), [4, 10, math.nan])
    same(slices.total(slices.count_samples(seen, None), GRID), [4, 20, math.nan])


def test_too_few_observations_make_no_quantile() -> None:
    seen = slices.observed([point(1, 1, (4, 0, 0)), point(1, 11, (4, 5, 0))], cumulative=True)
    same(slices.distribution(seen, GRID, "p95", least=5), [math.nan, 0.195, math.nan])


def test_nothing_has_no_value() -> None:
    empty = levels()
    for aggregation in ("mean", "min", "max", "last", "sum", "rate"):
        assert np.isnan(slices.aggregate(empty, GRID, aggregation)).all()
    assert np.isnan(slices.distribution([], GRID, "p95")).all()
    assert len(slices.total(empty, Grid(T0, SECOND, 0))) == 0


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 3), st.floats(0, 40), st.floats(-1e6, 1e6)),
        max_size=30,
        unique_by=lambda row: (row[0], int(row[1] * SECOND)),
    )
)
def test_each_point_is_in_the_slice_that_a_slow_search_finds(rows: list[tuple[int, float, float]]) -> None:
    samples = levels(*rows)
    for index, end in enumerate(GRID.ends.tolist()):
        inside = [
            value for time, value in zip(samples.time, samples.value, strict=True) if end - GRID.step < time <= end
        ]
        for aggregation, slow in (("max", max), ("min", min), ("mean", lambda values: sum(values) / len(values))):
            found = slices.aggregate(samples, GRID, aggregation)[index]  # type: ignore[arg-type]
            if inside:
                assert found == pytest.approx(slow(inside), abs=1e-6)
            else:
                assert math.isnan(found)
