"""Samples of whole slices summed up, such that slices of a longer step follow from those of a shorter one.

What is kept of a slice is enough for every aggregation of `slices`: rolled up to a minute and asked for by the hour,
a series answers as its points do. Slices are aligned to whole steps since the epoch and named by their end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from plumbline_analysis.series import histograms, slices
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Added, Float64, Grid, Int64, Samples
from plumbline_analysis.sources.batch import Layout
from plumbline_common.schemas import Aggregation


@dataclass(frozen=True)
class Rolled:
    """The samples of a signal in a slice; shape (n,) each, `time` the end of the slice.

    `change` and `seconds` add up only what is known of both.
    """

    signal: Int64
    time: Int64
    count: Int64
    sum: Float64
    min: Float64
    max: Float64
    last: Float64
    last_time: Int64
    change: Float64
    seconds: Float64

    def __len__(self) -> int:
        return len(self.signal)

    def rows(self, chosen: Int64) -> "Rolled":
        return Rolled(*(getattr(self, each.name)[chosen] for each in fields(self)))


@dataclass(frozen=True)
class RolledHistogram:
    """The observations of a signal and a layout in the slice that ends at `point.time`.

    `change` observations came in `seconds`, as far as both are known; the latest point, at `last_time`, added
    `last_count` observations that sum up to `last_sum`.
    """

    point: Point
    change: int
    seconds: float
    last_time: int
    last_count: int
    last_sum: float


def joined(parts: Sequence[Rolled]) -> Rolled:
    return Rolled(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Rolled)))


def rolled(samples: Samples, step: int) -> Rolled:
    """The samples in slices of `step` microseconds. O(n log n)."""
    timed = samples.seconds > 0
    each = Rolled(
        samples.signal,
        samples.time,
        np.ones(len(samples.time), np.int64),
        samples.value,
        samples.value,
        samples.value,
        samples.value,
        samples.time,
        np.where(timed, samples.change, 0.0),
        np.where(timed, samples.seconds, 0.0),
    )
    return merged(each, step)


def merged(parts: Rolled, step: int) -> Rolled:
    """The same in slices of `step` microseconds, a multiple of the step that `parts` have. O(n log n)."""
    return _grouped(parts, -(-parts.time // step) * step)


def _grouped(parts: Rolled, end: Int64) -> Rolled:
    """One row for each signal and end, in their order."""
    if not len(parts):
        return parts
    order = np.lexsort((parts.last_time, end, parts.signal))
    parts, end = parts.rows(order), end[order]
    first = np.ones(len(parts), bool)
    first[1:] = (np.diff(parts.signal) != 0) | (np.diff(end) != 0)
    begin = np.flatnonzero(first)
    newest = np.append(begin[1:], len(parts)) - 1
    return Rolled(
        parts.signal[begin],
        end[begin],
        np.add.reduceat(parts.count, begin),
        np.add.reduceat(parts.sum, begin),
        np.minimum.reduceat(parts.min, begin),
        np.maximum.reduceat(parts.max, begin),
        parts.last[newest],
        parts.last_time[newest],
        np.add.reduceat(parts.change, begin),
        np.add.reduceat(parts.seconds, begin),
    )


def values(parts: Rolled, grid: Grid, aggregation: Aggregation, *, counter: bool) -> Float64:
    """What `slices.aggregate` says of the samples, and of a counter's sum `slices.total`; shape (grid.count,).

    No slice of `parts` may reach over the edge of one of the grid.
    """
    place = grid.place(parts.time)
    inside = np.flatnonzero((place >= 0) & (place < grid.count))
    cells = _grouped(parts.rows(inside), grid.start + (place[inside] + 1) * grid.step)
    place = grid.place(cells.time)
    found = np.full(grid.count, np.nan)
    match aggregation:
        case "mean":
            total = np.bincount(place, cells.sum, grid.count)
            np.divide(total, count := np.bincount(place, cells.count, grid.count), out=found, where=count > 0)
        case "min":
            np.fmin.at(found, place, cells.min)
        case "max":
            np.fmax.at(found, place, cells.max)
        case "last":
            order = np.argsort(cells.last_time, kind="stable")
            found[place[order]] = cells.last[order]
        case "sum":
            _add(found, place, cells.sum if counter else cells.sum / cells.count)
        case "rate":
            timed = cells.seconds > 0
            _add(found, place[timed], cells.change[timed] / cells.seconds[timed])
    return found


def _add(found: Float64, place: Int64, value: Float64) -> None:
    found[place] = 0.0
    np.add.at(found, place, value)


# --- Histograms -----------------------------------------------------------------------------------------


def rolled_histograms(added: Iterable[Added], step: int) -> list[RolledHistogram]:
    """What histogram points add, in slices of `step` microseconds."""
    each = (
        RolledHistogram(
            one.point,
            one.point.count if one.seconds > 0 else 0,
            one.seconds if one.seconds > 0 else 0.0,
            one.point.time,
            one.point.count,
            one.point.sum,
        )
        for one in added
    )
    return merged_histograms(each, step)


def merged_histograms(parts: Iterable[RolledHistogram], step: int) -> list[RolledHistogram]:
    """The same in slices of `step` microseconds, a multiple of the step that `parts` have."""
    groups: dict[tuple[int, int, Layout], list[RolledHistogram]] = {}
    for part in parts:
        point = part.point
        groups.setdefault((point.signal, -(-point.time // step) * step, point.layout), []).append(part)
    found = []
    for (_, end, _), group in groups.items():
        newest = max(group, key=lambda part: part.last_time)
        found.append(
            RolledHistogram(
                histograms.total([part.point for part in group], end),
                sum(part.change for part in group),
                sum(part.seconds for part in group),
                newest.last_time,
                newest.last_count,
                newest.last_sum,
            )
        )
    return found


def histogram_values(parts: Sequence[RolledHistogram], grid: Grid, aggregation: Aggregation) -> Float64:
    """What `slices.distribution` says of the points; shape (grid.count,)."""
    if aggregation == "rate":
        return slices.aggregate(_arrivals(parts), grid, "rate")
    if aggregation == "last":
        return _latest(parts, grid)
    seen = slices.in_buckets(Added(part.point, part.seconds) for part in parts)
    return slices.distribution(seen, grid, aggregation)


def _arrivals(parts: Sequence[RolledHistogram]) -> Samples:
    change = np.array([part.change for part in parts], np.float64)
    return Samples(
        np.array([part.point.signal for part in parts], np.int64),
        np.array([part.point.time for part in parts], np.int64),
        change,
        change,
        np.array([part.seconds for part in parts], np.float64),
    )


def _latest(parts: Sequence[RolledHistogram], grid: Grid) -> Float64:
    found = np.full(grid.count, np.nan)
    place = grid.place(np.array([part.point.time for part in parts], np.int64))
    for at, part in sorted(zip(place.tolist(), parts, strict=True), key=lambda each: each[1].last_time):
        if 0 <= at < grid.count:
            found[at] = part.last_sum / part.last_count if part.last_count else np.nan
    return found
