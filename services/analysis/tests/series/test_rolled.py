"""Slices that are rolled up in steps answer as the points themselves do."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series import derived, rolled
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Kind, Layout, Temporality
from plumbline_common.schemas import Aggregation

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
T0 = 500_000 * HOUR
AGGREGATIONS = get_args(Aggregation)
GRIDS = [Grid(T0, MINUTE, 240), Grid(T0, 10 * MINUTE, 24), Grid(T0, 2 * HOUR, 2)]
COUNTERS = [(Kind.SUM, Temporality.CUMULATIVE, True), (Kind.SUM, Temporality.DELTA, True)]
LEVELS = [(Kind.GAUGE, Temporality.NONE, False), (Kind.SUM, Temporality.CUMULATIVE, False)]

# Seconds after T0, with pauses of any length; two workers; restarts that are told of and resets that are not.
times = st.lists(st.integers(1, 4 * 3600 * 1000), min_size=1, max_size=40, unique=True).map(sorted)
signals = st.sampled_from([1, 2])
starts = st.sampled_from([0, T0 - 10 * SECOND, T0 + HOUR])
whole = st.integers(0, 1000)


@st.composite
def numbers(draw: st.DrawFn) -> Points:
    kind, temporality, monotonic = draw(st.sampled_from(COUNTERS + LEVELS))
    at = np.array(draw(times), np.int64) * 1000 + T0
    rows = [(draw(signals), min(draw(starts), int(time)), draw(whole)) for time in at]
    return Points(
        {number: SignalInfo(number, "1", kind, temporality, monotonic) for number in (1, 2)},
        np.array([row[0] for row in rows], np.int64),
        at,
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


@st.composite
def histograms(draw: st.DrawFn) -> Points:
    temporality = draw(st.sampled_from([Temporality.CUMULATIVE, Temporality.DELTA]))
    found = []
    for at in draw(times):
        time = T0 + at * 1000
        signal, start = draw(signals), min(draw(starts), time)
        if draw(st.booleans()):
            layout = draw(st.sampled_from([Layout((0.1, 0.2)), Layout((0.1, 0.25))]))
            counts = draw(st.tuples(whole, whole, whole))
            found.append(Point(signal, start, time, layout, sum(counts), draw(whole) / 8, counts))
        else:
            layout = Layout(scale=draw(st.sampled_from([0, 1])), zero_threshold=0.0)
            up, down = (tuple(draw(st.lists(whole, max_size=3))) for _ in range(2))
            zeros, offsets = draw(whole), draw(st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
            total = sum(up) + sum(down) + zeros
            found.append(
                Point(signal, start, time, layout, total, draw(whole) / 8, up, offsets[0], zeros, offsets[1], down)
            )
    kinds = {number: SignalInfo(number, "s", Kind.EXPONENTIAL_HISTOGRAM, temporality, True) for number in (1, 2)}
    return Points(kinds, histograms=found)


@given(numbers(), st.sampled_from(AGGREGATIONS), st.sampled_from(GRIDS), st.integers(0, 4))
def test_numbers_answer_as_their_points_do(
    points: Points, aggregation: Aggregation, grid: Grid, rolled_hours: int
) -> None:
    samples = derived.samples(points)
    minutes = rolled.rolled(samples, MINUTE)
    # As a query does it: hours of what is rolled up already, minutes for the rest.
    old = np.flatnonzero(minutes.time <= T0 + rolled_hours * HOUR)
    new = np.flatnonzero(minutes.time > T0 + rolled_hours * HOUR)
    parts = minutes.rows(old)
    if grid.step % HOUR == 0:
        parts = rolled.merged(parts, HOUR)
    parts = rolled.joined([parts, minutes.rows(new)])
    is_counter = any(signal.is_counter for signal in points.signals.values())
    found = rolled.values(parts, grid, aggregation, counter=is_counter)
    np.testing.assert_allclose(found, derived.values(points, grid, aggregation, None), rtol=1e-9, atol=1e-9)


@given(histograms(), st.sampled_from(AGGREGATIONS), st.sampled_from(GRIDS), st.integers(0, 4))
def test_histograms_answer_as_their_points_do(
    points: Points, aggregation: Aggregation, grid: Grid, rolled_hours: int
) -> None:
    minutes = rolled.rolled_histograms(points.added, MINUTE)
    old = [each.rows(np.flatnonzero(each.time <= T0 + rolled_hours * HOUR)) for each in minutes]
    new = [each.rows(np.flatnonzero(each.time > T0 + rolled_hours * HOUR)) for each in minutes]
    if grid.step % HOUR == 0:
        old = rolled.merged_histograms(old, HOUR)
    found = rolled.histogram_values(old + new, grid, aggregation)
    np.testing.assert_allclose(found, derived.values(points, grid, aggregation, None), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_of_nothing_nothing_is_known(aggregation: Aggregation) -> None:
    nothing = rolled.rolled(derived.samples(Points()), MINUTE)
    assert np.isnan(rolled.values(rolled.merged(nothing, HOUR), GRIDS[0], aggregation, counter=True)).all()
    assert np.isnan(rolled.histogram_values([], GRIDS[0], aggregation)).all()
