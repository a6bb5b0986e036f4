import math

import numpy as np

from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Kind, Layout, Temporality

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
GRID = Grid(T0, 10 * SECOND, 2)
COUNTER = SignalInfo(1, "1", Kind.SUM, Temporality.CUMULATIVE, True)
DELTA = SignalInfo(2, "1", Kind.SUM, Temporality.DELTA, True)
GAUGE = SignalInfo(3, "1", Kind.GAUGE, Temporality.NONE, False)
LEVEL = SignalInfo(4, "1", Kind.SUM, Temporality.CUMULATIVE, False)
HISTOGRAM = SignalInfo(5, "s", Kind.HISTOGRAM, Temporality.CUMULATIVE, True)


def points(signals: list[SignalInfo], *rows: tuple[int, float, float], histograms: tuple[Point, ...] = ()) -> Points:
    """Rows of (signal, seconds after T0, value)."""
    return Points(
        {signal.number: signal for signal in signals},
        np.array([row[0] for row in rows], np.int64),
        np.array([T0 + int(row[1] * SECOND) for row in rows], np.int64),
        np.full(len(rows), T0 - SECOND, np.int64),
        np.array([row[2] for row in rows], np.float64),
        histograms,
    )


def same(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected)


ROWS = ((1, 1.0, 10.0), (1, 5.0, 12.0), (1, 15.0, 20.0), (2, 3.0, 100.0), (3, 4.0, 7.0), (3, 14.0, 9.0))


def test_a_counter_sums_to_its_increase_and_a_level_to_its_mean() -> None:
    same(derived.values(points([COUNTER], *ROWS[:3]), GRID, "sum", None), [12, 8])
    same(derived.values(points([GAUGE], (3, 1.0, 4.0), (3, 2.0, 6.0)), GRID, "sum", None), [5, math.nan])
    same(derived.values(points([LEVEL], (4, 1.0, 4.0), (4, 12.0, 6.0)), GRID, "last", None), [4, 6])


def test_both_temporalities_count_together() -> None:
    same(derived.counts(points([COUNTER, DELTA], *ROWS[:4]), GRID, None, counter=True), [112, 8])


def test_a_gauge_counts_as_a_counter_only_where_the_slo_says_so() -> None:
    gauges = points([GAUGE], *ROWS[4:])
    same(derived.counts(gauges, GRID, None, counter=False), [7, 9])
    # Of a gauge no start is known: its first point is where counting begins.
    same(derived.counts(gauges, GRID, None, counter=True), [math.nan, 2])


def histogram(at: float, counts: tuple[int, ...]) -> Point:
    return Point(5, T0 - SECOND, T0 + int(at * SECOND), Layout((0.1, 0.2)), sum(counts), 1.0, counts)


def test_a_histogram_counts_its_observations_and_those_within_a_bound() -> None:
    seen = points([HISTOGRAM], histograms=(histogram(1, (4, 0, 0)), histogram(11, (4, 10, 0))))
    same(derived.counts(seen, GRID, None, counter=True), [4, 10])
    same(derived.counts(seen, GRID, 0.15, counter=True), [4, 5])
    same(derived.values(seen, GRID, "p50", None), [0.05, 0.15])
    same(derived.values(seen, GRID, "sum", 0.1), [4, 0])


def test_a_role_sees_only_its_own_signals() -> None:
    whole = points([COUNTER, GAUGE, HISTOGRAM], *ROWS, histograms=(histogram(1, (4, 0, 0)),))
    part = whole.of([GAUGE])
    assert (set(part.signals), part.value.tolist(), list(part.histograms)) == ({3}, [7, 9], [])
    assert whole.latest == T0 + 15 * SECOND
    assert Points().latest is None
