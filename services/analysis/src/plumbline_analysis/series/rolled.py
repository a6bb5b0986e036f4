"""Samples of whole slices summed up, such that slices of a longer step follow from those of a shorter one.

What is kept of a slice is enough for every aggregation of `slices`: rolled up to a minute and asked for by the hour,
a series answers as its points do. Slices are aligned to whole steps since the epoch and named by their end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from plumbline_analysis.series import histograms, slices
from plumbline_analysis.series.histograms import Buckets
from plumbline_analysis.series.slices import Added, Float64, Grid, Int64, Observed, Samples
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
class RolledHistograms:
    """The observations of one signal and layout in n slices that end at `time`; shape (n,) where not said otherwise.

    `counts[i, j]` of the shape (n, k) lie in the explicit bucket j or the exponential one `offset + j`, likewise
    `negative_counts`. `change` observations came in `seconds`, as far as both are known; the latest point, at
    `last_time`, added `last_count` observations that sum up to `last_sum`.
    """

    signal: int
    layout: Layout
    offset: int
    negative_offset: int
    time: Int64
    count: Int64
    sum: Float64
    change: Int64
    seconds: Float64
    last_time: Int64
    last_count: Int64
    last_sum: Float64
    zero_count: Int64
    counts: Int64
    negative_counts: Int64

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, chosen: Int64) -> "RolledHistograms":
        return replace(self, **{name: getattr(self, name)[chosen] for name in _HISTOGRAM_COLUMNS})


_HISTOGRAM_COLUMNS = tuple(each.name for each in fields(RolledHistograms))[4:]


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


def rolled_histograms(added: Iterable[Added], step: int) -> list[RolledHistograms]:
    """What histogram points add, in slices of `step` microseconds; one for each signal and layout."""
    groups: dict[tuple[int, Layout], list[Added]] = {}
    for each in added:
        groups.setdefault((each.point.signal, each.point.layout), []).append(each)
    return merged_histograms([_each(*key, group) for key, group in groups.items()], step)


def _each(signal: int, layout: Layout, group: Sequence[Added]) -> RolledHistograms:
    """Every point by itself."""
    points = [each.point for each in group]
    time = np.array([point.time for point in points], np.int64)
    count = np.array([point.count for point in points], np.int64)
    total = np.array([point.sum for point in points], np.float64)
    seconds = np.array([each.seconds for each in group], np.float64)
    timed = seconds > 0
    offset, counts = _matrix([(point.offset, point.counts) for point in points])
    negative_offset, negative = _matrix([(point.negative_offset, point.negative_counts) for point in points])
    return RolledHistograms(
        signal,
        layout,
        offset,
        negative_offset,
        time,
        count,
        total,
        np.where(timed, count, 0),
        np.where(timed, seconds, 0.0),
        time,
        count,
        total,
        np.array([point.zero_count for point in points], np.int64),
        counts,
        negative,
    )


def _matrix(rows: Sequence[tuple[int, Sequence[int] | Int64]]) -> tuple[int, Int64]:
    """Rows of counts, each from an offset on, from a common one on."""
    held = [(offset, offset + len(counts)) for offset, counts in rows if len(counts)]
    lowest = min((low for low, _ in held), default=0)
    whole = np.zeros((len(rows), max((high for _, high in held), default=0) - lowest), np.int64)
    for row, (offset, counts) in zip(whole, rows, strict=True):
        if len(counts):
            row[offset - lowest : offset - lowest + len(counts)] = counts
    return lowest, whole


def merged_histograms(parts: Iterable[RolledHistograms], step: int) -> list[RolledHistograms]:
    """The same in slices of `step` microseconds, a multiple of the step that `parts` have."""
    return [_merged(part, -(-part.time // step) * step) for part in _by_layout(parts)]


def _by_layout(parts: Iterable[RolledHistograms]) -> list[RolledHistograms]:
    """One for each signal and layout."""
    groups: dict[tuple[int, Layout], list[RolledHistograms]] = {}
    for part in parts:
        if len(part):
            groups.setdefault((part.signal, part.layout), []).append(part)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: Sequence[RolledHistograms]) -> RolledHistograms:
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in group])
        for name in _HISTOGRAM_COLUMNS
        if name not in ("counts", "negative_counts")
    }
    offset, counts = _stacked([(part.offset, part.counts) for part in group])
    negative_offset, negative = _stacked([(part.negative_offset, part.negative_counts) for part in group])
    return replace(
        group[0],
        offset=offset,
        negative_offset=negative_offset,
        counts=counts,
        negative_counts=negative,
        **columns,
    )


def _stacked(parts: Sequence[tuple[int, Int64]]) -> tuple[int, Int64]:
    """Matrices of counts, each from an offset on, one below the other from a common one on."""
    held = [(offset, offset + counts.shape[1]) for offset, counts in parts if counts.shape[1]]
    lowest = min((low for low, _ in held), default=0)
    highest = max((high for _, high in held), default=0)
    padded = [
        np.pad(counts, ((0, 0), (offset - lowest, highest - offset - counts.shape[1])))
        if counts.shape[1]
        else np.zeros((len(counts), highest - lowest), np.int64)
        for offset, counts in parts
    ]
    return lowest, np.concatenate(padded)


def _merged(part: RolledHistograms, end: Int64) -> RolledHistograms:
    """One row for each end, in their order."""
    order = np.lexsort((part.last_time, end))
    part, end = part.rows(order), end[order]
    begin = np.flatnonzero(np.append(True, np.diff(end) != 0))
    newest = np.append(begin[1:], len(part)) - 1
    latest: dict[str, Any] = {name: getattr(part, name)[newest] for name in ("last_time", "last_count", "last_sum")}
    added: dict[str, Any] = {
        name: np.add.reduceat(getattr(part, name), begin)
        for name in _HISTOGRAM_COLUMNS
        if name not in latest and name != "time"
    }
    return replace(part, time=end[begin], **latest, **added)


def histogram_values(parts: Sequence[RolledHistograms], grid: Grid, aggregation: Aggregation) -> Float64:
    """What `slices.distribution` says of the points; shape (grid.count,).

    No slice of `parts` may reach over the edge of one of the grid. O(n k); where a slice holds several layouts, its
    quantile costs some 50 us.
    """
    inside = [part.rows(np.flatnonzero((part.time > grid.start) & (part.time <= grid.end))) for part in parts]
    cells = [_merged(part, grid.start + (grid.place(part.time) + 1) * grid.step) for part in _by_layout(inside)]
    found = np.full(grid.count, np.nan)
    if not cells:
        return found
    if aggregation in ("sum", "mean", "last", "rate"):
        return _moments(cells, grid, aggregation)
    if len(cells) == 1:
        found[grid.place(cells[0].time)] = _ends_or_quantile(cells[0], aggregation)
        return found
    return slices.distribution([each for cell in cells for each in _observed(cell)], grid, aggregation)


def _moments(cells: Sequence[RolledHistograms], grid: Grid, aggregation: Aggregation) -> Float64:
    time, count, total, change, seconds, last_time, last_count, last_sum = (
        np.concatenate([getattr(cell, name) for cell in cells]) for name in _HISTOGRAM_COLUMNS[:8]
    )
    place = grid.place(time)
    found = np.full(grid.count, np.nan)
    match aggregation:
        case "rate":
            signal = np.repeat([cell.signal for cell in cells], [len(cell) for cell in cells])
            moved = change.astype(np.float64)
            return slices.aggregate(Samples(signal, time, moved, moved, seconds), grid, "rate")
        case "last":
            order = np.argsort(last_time, kind="stable")
            means = np.full(len(time), np.nan)
            np.divide(last_sum, last_count, out=means, where=last_count > 0)
            found[place[order]] = means[order]
        case "sum":
            _add(found, place, total)
        case _:
            sums, counts = np.bincount(place, total, grid.count), np.bincount(place, count, grid.count)
            np.divide(sums, counts, out=found, where=counts > 0)
    return found


def _whole(cell: RolledHistograms) -> tuple[Float64, Float64, Int64]:
    """Lower and upper bounds of the disjoint ascending buckets, and their counts; shapes (k,), (k,) and (n, k)."""
    lower, upper = histograms.edges(
        cell.layout, cell.offset, cell.counts.shape[1], cell.negative_offset, cell.negative_counts.shape[1]
    )
    if cell.layout.scale is None:
        return lower, upper, cell.counts
    return lower, upper, np.hstack((cell.negative_counts[:, ::-1], cell.zero_count[:, None], cell.counts))


def _ends_or_quantile(cell: RolledHistograms, aggregation: Aggregation) -> Float64:
    lower, upper, counts = _whole(cell)
    if aggregation in slices.QUANTILES:
        return histograms.quantiles(lower, upper, counts, slices.QUANTILES[aggregation])
    occupied = counts > 0
    if aggregation == "min":
        place, ends = occupied.argmax(axis=1), np.where(np.isfinite(lower), lower, upper)
    else:
        place, ends = len(upper) - 1 - occupied[:, ::-1].argmax(axis=1), np.where(np.isfinite(upper), upper, lower)
    return np.where(occupied.any(axis=1) & np.isfinite(ends[place]), ends[place], np.nan)


def _observed(cell: RolledHistograms) -> list[Observed]:
    lower, upper, counts = _whole(cell)
    columns = (cell.time.tolist(), cell.count.tolist(), cell.sum.tolist(), counts.astype(np.float64))
    return [
        Observed(cell.signal, time, 0.0, count, total, Buckets(lower, upper, row))
        for time, count, total, row in zip(*columns, strict=True)
    ]
