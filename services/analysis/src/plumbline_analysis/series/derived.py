"""From the stored points of the signals that a query means to the values or counts of each slice. Pure, CPU-bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from plumbline_analysis.series import slices
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Added, Float64, Grid, Int64, Observed, Samples
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.schemas import Aggregation


@dataclass(frozen=True)
class SignalInfo:
    """What must be known of a signal to read its points."""

    number: int
    unit: str
    kind: Kind
    temporality: Temporality
    monotonic: bool

    @property
    def is_histogram(self) -> bool:
        return self.kind in (Kind.HISTOGRAM, Kind.EXPONENTIAL_HISTOGRAM, Kind.BUCKET)

    @property
    def is_counter(self) -> bool:
        return self.kind is Kind.SUM and (self.monotonic or self.temporality is Temporality.DELTA)


@dataclass(frozen=True)
class Points:
    """Stored points of some signals, and of each stream the last one before them. Columns have shape (n,)."""

    signals: Mapping[int, SignalInfo] = field(default_factory=dict)
    signal: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    time: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    start: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    value: Float64 = field(default_factory=lambda: np.empty(0, np.float64))
    histograms: Sequence[Point] = ()

    @property
    def latest(self) -> int | None:
        """The time of the newest point; None of nothing."""
        newest = [int(self.time.max())] if len(self.time) else []
        newest += [max(point.time for point in self.histograms)] if self.histograms else []
        return max(newest, default=None)

    @cached_property
    def observed(self) -> list[Observed]:
        """What each histogram point adds, in the order of time."""
        return slices.in_buckets(self.added)

    @property
    def added(self) -> list[Added]:
        """As `observed`, each as a point of its own."""
        found: list[Added] = []
        for cumulative in (True, False):
            numbers = {
                signal.number
                for signal in self.signals.values()
                if (signal.temporality is Temporality.CUMULATIVE) is cumulative
            }
            own = [point for point in self.histograms if point.signal in numbers]
            found += slices.added(own, cumulative=cumulative)
        found.sort(key=lambda each: each.point.time)
        return found

    def of(self, signals: Sequence[SignalInfo]) -> "Points":
        """The points of some of the signals."""
        chosen = {signal.number: signal for signal in signals}
        if chosen.keys() == self.signals.keys():
            return self
        # Where there are only histograms, looking for numbers would take most of the time.
        kept = np.isin(self.signal, np.array(list(chosen), np.int64)) if len(self.signal) else slice(0)
        return Points(
            chosen,
            self.signal[kept],
            self.time[kept],
            self.start[kept],
            self.value[kept],
            [point for point in self.histograms if point.signal in chosen],
        )


def values(points: Points, grid: Grid, aggregation: Aggregation, le: float | None, *, least: int = 1) -> Float64:
    """One number a slice, NaN where there is none; shape (grid.count,). `least` observations make a quantile."""
    if points.histograms:
        seen = points.observed
        if le is not None:
            return _of_counters(slices.count_samples(seen, le), grid, aggregation)
        return slices.distribution(seen, grid, aggregation, least=least)
    counters = _counters(points, gauges=False)
    if len(counters.time):
        return _of_counters(counters, grid, aggregation)
    return slices.aggregate(_levels(points), grid, aggregation)


def counts(points: Points, grid: Grid, le: float | None, *, counter: bool) -> Float64:
    """How many events each slice holds; NaN where nothing was measured; shape (grid.count,).

    `counter` is OpenSLO's: whether gauges, too, only ever grow. Where not, their values are themselves the counts.
    """
    if points.histograms:
        return slices.total(slices.count_samples(points.observed, le), grid)
    found = slices.total(_counters(points, gauges=counter), grid)
    if counter:
        return found
    levels = slices.total(_levels(points), grid)
    return np.where(np.isnan(found), levels, found + np.nan_to_num(levels, nan=0.0))


def samples(points: Points) -> Samples:
    """What is measured by the numbers: increases of counters, values of levels."""
    return _joined(_counters(points, gauges=False), _levels(points))


def _of_counters(samples: Samples, grid: Grid, aggregation: Aggregation) -> Float64:
    if aggregation == "sum":
        return slices.total(samples, grid)
    return slices.aggregate(samples, grid, aggregation)


def _rows(points: Points, wanted: Sequence[int]) -> npt.NDArray[np.bool_]:
    return np.isin(points.signal, np.array(wanted, np.int64))


def _counters(points: Points, *, gauges: bool) -> Samples:
    level = [signal.number for signal in points.signals.values() if signal.kind is Kind.GAUGE]
    # What start a gauge may carry says nothing of what it counts.
    start = np.where(_rows(points, level), 0, points.start)
    parts = []
    for cumulative in (True, False):
        numbers = [
            signal.number
            for signal in points.signals.values()
            if signal.is_counter and (signal.temporality is Temporality.CUMULATIVE) is cumulative
        ]
        rows = _rows(points, numbers + level if gauges and cumulative else numbers)
        parts.append(
            slices.counter_samples(
                points.signal[rows], start[rows], points.time[rows], points.value[rows], cumulative=cumulative
            )
        )
    return _joined(*parts)


def _joined(first: Samples, second: Samples) -> Samples:
    return Samples(
        np.concatenate((first.signal, second.signal)),
        np.concatenate((first.time, second.time)),
        np.concatenate((first.value, second.value)),
        np.concatenate((first.change, second.change)),
        np.concatenate((first.seconds, second.seconds)),
    )


def _levels(points: Points) -> Samples:
    levels = [signal for signal in points.signals.values() if not (signal.is_counter or signal.is_histogram)]
    rows = _rows(points, [signal.number for signal in levels])
    return slices.level_samples(points.signal[rows], points.time[rows], points.value[rows])
