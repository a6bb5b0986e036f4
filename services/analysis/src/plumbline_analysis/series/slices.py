"""How the points of one slice become one number, over all the signals that a query means.

A `Grid` cuts time into n equal slices. Every function answers one value a slice, NaN where the slice has no data.

What an aggregation means depends on what is measured:

| aggregation | counter (monotonic sum) | level (gauge, other sum)         | histogram                    |
| ----------- | ----------------------- | -------------------------------- | ---------------------------- |
| mean        | mean increase a point   | mean of all points               | sum / count of observations  |
| min, max    | least, greatest one     | least, greatest point            | ends of the occupied buckets |
| sum         | increase                | sum over signals of their means  | sum of observations          |
| last        | last increase           | latest point                     | mean of the latest increase  |
| rate        | increase a second       | change a second                  | observations a second        |
| pNN         | no data                 | no data                          | quantile                     |

With `le`, a histogram counts as a counter of the observations <= `le`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.series import counters, histograms
from plumbline_analysis.series.histograms import Buckets, Point
from plumbline_common.schemas import Aggregation

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Grid:
    """`count` slices of `step` after `start`; microseconds."""

    start: int
    step: int
    count: int

    @property
    def ends(self) -> Int64:
        return self.start + self.step * np.arange(1, self.count + 1, dtype=np.int64)

    @property
    def end(self) -> int:
        return self.start + self.step * self.count

    def place(self, time: Int64) -> Int64:
        """The slice of each time; outside 0 .. count - 1 where it is in none."""
        return -((self.start - time) // self.step) - 1


@dataclass(frozen=True)
class Samples:
    """What was measured: points of counters as increases, points of levels as values. Shape (n,) each.

    `change` and `seconds` say by how much and over how long a level or counter moved since the point before it.
    """

    signal: Int64
    time: Int64
    value: Float64
    change: Float64
    seconds: Float64


@dataclass(frozen=True)
class Added:
    """What one point of a histogram adds to its predecessor, itself as a point, and over how many seconds."""

    point: Point
    seconds: float


@dataclass(frozen=True)
class Observed:
    """What one point of a histogram adds: the observations between its predecessor and itself."""

    signal: int
    time: int
    seconds: float
    count: int
    sum: float
    buckets: Buckets


def counter_samples(
    signal: Int64, start: Int64, time: Int64, value: Float64, *, cumulative: bool, monotonic: bool = True
) -> Samples:
    """Samples of counters, whose points stand in any order; shape (n,) each. Baselines are left out."""
    order = counters.stream_order(signal, start, time)
    signal, start, time, value = signal[order], start[order], time[order], value[order]
    if cumulative:
        change, seconds = counters.increases(signal, start, time, value, monotonic=monotonic)
    else:
        change = value.copy()
        seconds = np.where((start > 0) & (start < time), (time - start) / 1e6, np.nan)
    known = ~np.isnan(change)
    return Samples(signal[known], time[known], change[known], change[known], seconds[known])


def level_samples(signal: Int64, time: Int64, value: Float64) -> Samples:
    """Samples of levels, whose points stand in any order; shape (n,) each."""
    order = np.lexsort((time, signal))
    signal, time, value = signal[order], time[order], value[order]
    change, seconds = counters.increases(signal, np.zeros_like(time), time, value, monotonic=False)
    return Samples(signal, time, value, change, seconds)


def added(points: Iterable[Point], *, cumulative: bool) -> list[Added]:
    """What each histogram point adds, in the order of time; baselines are left out."""
    found = []
    before: Point | None = None
    for point in sorted(points, key=lambda each: (each.signal, each.start, each.time)):
        if before is not None and (before.signal, before.start) != (point.signal, point.start):
            before = None
        new = histograms.increase(point, before, first_span=counters.FIRST_SPAN) if cumulative else point
        since = before.time if cumulative and before is not None else point.start
        before = point
        if new is not None:
            found.append(Added(new, (point.time - since) / 1e6 if 0 < since < point.time else float("nan")))
    found.sort(key=lambda each: each.point.time)
    return found


def observed(points: Iterable[Point], *, cumulative: bool) -> list[Observed]:
    """As `added`, in buckets."""
    return in_buckets(added(points, cumulative=cumulative))


def in_buckets(points: Iterable[Added]) -> list[Observed]:
    return [
        Observed(new.signal, new.time, each.seconds, new.count, new.sum, histograms.buckets(new))
        for each in points
        for new in (each.point,)
    ]


# --- Numbers --------------------------------------------------------------------------------------------


def aggregate(samples: Samples, grid: Grid, aggregation: Aggregation) -> Float64:
    """Shape (grid.count,). The `sum` is that of levels; of counters it is `total`."""
    place = grid.place(samples.time)
    inside = (place >= 0) & (place < grid.count)
    if aggregation == "rate":
        return _rate(samples, place, inside, grid)
    place, value, signal, time = place[inside], samples.value[inside], samples.signal[inside], samples.time[inside]
    empty = np.full(grid.count, np.nan)
    match aggregation:
        case "mean":
            return _ratio(_total(place, value, grid), _total(place, np.ones_like(value), grid))
        case "min" | "max":
            worst = np.full(grid.count, np.inf if aggregation == "min" else -np.inf)
            (np.minimum if aggregation == "min" else np.maximum).at(worst, place, value)
            return np.where(np.isinf(worst), np.nan, worst)
        case "last":
            order = np.argsort(time, kind="stable")
            empty[place[order]] = value[order]
            return empty
        case "sum":
            cells, at = np.unique(np.stack((place, signal), axis=1), axis=0, return_inverse=True)
            means = np.bincount(at.ravel(), weights=value) / np.maximum(np.bincount(at.ravel()), 1)
            return _where_any(cells[:, 0], _total(cells[:, 0], means, grid))
        case _:
            return empty


def total(samples: Samples, grid: Grid) -> Float64:
    """The sum of all values in each slice: of a counter, its increase. Shape (grid.count,)."""
    place = grid.place(samples.time)
    inside = (place >= 0) & (place < grid.count)
    return _where_any(place[inside], _total(place[inside], samples.value[inside], grid))


def _rate(samples: Samples, place: Int64, inside: npt.NDArray[np.bool_], grid: Grid) -> Float64:
    """Over signals, the sum of each one's change divided by the seconds over which it came about."""
    usable = inside & (samples.seconds > 0)
    place, signal = place[usable], samples.signal[usable]
    cells, at = np.unique(np.stack((place, signal), axis=1), axis=0, return_inverse=True)
    change = np.bincount(at.ravel(), weights=samples.change[usable])
    seconds = np.bincount(at.ravel(), weights=samples.seconds[usable])
    return _where_any(
        cells[:, 0], _total(cells[:, 0], _ratio(change.astype(np.float64), seconds.astype(np.float64)), grid)
    )


def _total(place: Int64, value: Float64, grid: Grid) -> Float64:
    return np.bincount(place, weights=value, minlength=grid.count).astype(np.float64, copy=False)


def _where_any(place: Int64, sums: Float64) -> Float64:
    missing = np.bincount(place, minlength=len(sums)) == 0
    return np.where(missing, np.nan, sums)


def _ratio(above: Float64, below: Float64) -> Float64:
    quotient = np.full(len(above), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


# --- Histograms -----------------------------------------------------------------------------------------


def distribution(points: Sequence[Observed], grid: Grid, aggregation: Aggregation, *, least: int = 1) -> Float64:
    """Shape (grid.count,). A slice with fewer than `least` observations has no quantile: it would be noise."""
    if aggregation == "rate":
        return aggregate(count_samples(points, None), grid, "rate")
    values = np.full(grid.count, np.nan)
    for place, inside in _by_slice(points, grid):
        values[place] = _summary(inside, aggregation, least)
    return values


def count_samples(points: Sequence[Observed], le: float | None) -> Samples:
    """The observations (<= `le`, where given) that each point adds, as samples of a counter; shape (n,) each."""
    if le is None:
        count = np.array([point.count for point in points], np.float64)
    else:
        bound = np.array([le])
        count = np.array([histograms.at_most(point.buckets, bound)[0] for point in points], np.float64)
    return Samples(
        np.array([point.signal for point in points], np.int64),
        np.array([point.time for point in points], np.int64),
        count,
        count,
        np.array([point.seconds for point in points], np.float64),
    )


def _by_slice(points: Sequence[Observed], grid: Grid) -> list[tuple[int, list[Observed]]]:
    place = grid.place(np.array([point.time for point in points], np.int64))
    found: dict[int, list[Observed]] = {}
    for at, point in zip(place.tolist(), points, strict=True):
        if 0 <= at < grid.count:
            found.setdefault(at, []).append(point)
    return list(found.items())


def _summary(points: Sequence[Observed], aggregation: Aggregation, least: int) -> float:
    count = sum(point.count for point in points)
    match aggregation:
        case "sum":
            return sum(point.sum for point in points)
        case "mean":
            return sum(point.sum for point in points) / count if count else float("nan")
        case "last":
            latest = points[-1]
            return latest.sum / latest.count if latest.count else float("nan")
    if count < least:
        return float("nan")
    merged = histograms.merged([point.buckets for point in points])
    occupied = merged.count > 0
    if not occupied.any():
        return float("nan")
    match aggregation:
        case "min":
            return _finite(merged.lower[occupied].min(), merged.upper[occupied].min())
        case "max":
            return _finite(merged.upper[occupied].max(), merged.lower[occupied].max())
        case _:
            return histograms.quantile(merged, QUANTILES[aggregation])


def _finite(end: float, other: float) -> float:
    return float(end if np.isfinite(end) else other) if np.isfinite(end) or np.isfinite(other) else float("nan")
