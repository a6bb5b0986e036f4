"""Histograms of any layout as disjoint buckets, so that different layouts add up: explicit bounds, exponential ones.

Inside a bucket the observations are taken to be spread evenly (Prometheus' histogram_quantile makes the same
assumption). What lies beyond the outermost finite bounds is known only to lie there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import sub

import numpy as np
import numpy.typing as npt

from plumbline_analysis.sources.batch import Layout

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One stored histogram point of a stream. Times in microseconds since the epoch; `sum` NaN where not given."""

    signal: int
    start: int
    time: int
    layout: Layout
    count: int
    sum: float
    counts: tuple[int, ...]
    offset: int = 0
    zero_count: int = 0
    negative_offset: int = 0
    negative_counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Buckets:
    """Shape (k,) each: `count[i]` observations in (lower[i], upper[i]]; `lower` may be -inf, `upper` +inf."""

    lower: Float64
    upper: Float64
    count: Float64

    @property
    def total(self) -> float:
        return float(self.count.sum())


def buckets(point: Point) -> Buckets:
    """The disjoint buckets of one point, ascending."""
    lower, upper = edges(
        point.layout, point.offset, len(point.counts), point.negative_offset, len(point.negative_counts)
    )
    counts: tuple[int, ...] = point.counts
    if point.layout.scale is not None:
        counts = (*point.negative_counts[::-1], point.zero_count, *point.counts)
    return Buckets(lower, upper, np.array(counts, np.float64))


def edges(
    layout: Layout, offset: int, count: int, negative_offset: int, negative_count: int
) -> tuple[Float64, Float64]:
    """Lower and upper bounds of the buckets, ascending: of exponential ones the negative, zero's, the positive."""
    if layout.scale is None:
        return _explicit_edges(layout)
    # Bucket i of an exponential histogram is (base^i, base^(i+1)] with base = 2^(2^-scale).
    above = _powers(layout.scale, offset, count)
    below = -_powers(layout.scale, negative_offset, negative_count)[::-1]
    zero = layout.zero_threshold
    return np.concatenate((below[:-1], [-zero], above[:-1])), np.concatenate((below[1:], [zero], above[1:]))


@lru_cache(maxsize=1024)
def _explicit_edges(layout: Layout) -> tuple[Float64, Float64]:
    """Shared by all points of the layout, which is how `merged` knows that they have the same buckets."""
    bounds = np.array(layout.bounds, np.float64)
    lower, upper = np.concatenate(([-np.inf], bounds)), np.concatenate((bounds, [np.inf]))
    if len(bounds) and bounds[0] > 0:
        # No unit that is measured in such bounds goes below zero (latency, size): Prometheus assumes the same.
        lower[0] = 0.0
    lower.setflags(write=False)
    upper.setflags(write=False)
    return lower, upper


def _powers(scale: int, offset: int, count: int) -> Float64:
    """The count + 1 bounds of `count` exponential buckets; empty for none."""
    if count == 0:
        return np.zeros(1)
    index = np.arange(offset, offset + count + 1, dtype=np.float64)
    with np.errstate(over="ignore"):  # the last bound at the coarsest scale is 2^1024: infinity
        return np.asarray(np.exp2(index * 2.0**-scale), np.float64)


def merged(parts: Sequence[Buckets]) -> Buckets:
    """The sum of histograms. Buckets may overlap where layouts differ."""
    alike: dict[int, list[Buckets]] = {}
    for part in parts:
        alike.setdefault(id(part.lower), []).append(part)
    if not alike:
        return Buckets(np.empty(0), np.empty(0), np.empty(0))
    groups = list(alike.values())
    return Buckets(
        np.concatenate([group[0].lower for group in groups]),
        np.concatenate([group[0].upper for group in groups]),
        np.concatenate([np.sum([part.count for part in group], axis=0) for group in groups]),
    )


def at_most(histogram: Buckets, bounds: Float64, *, strictly_below: bool = False) -> Float64:
    """How many observations are <= each bound (or < it); shape (m,) of shape (m,). O(m k).

    Of a bucket without a finite width nothing counts before its upper end.
    """
    finite = np.isfinite(histogram.lower) & np.isfinite(histogram.upper) & (histogram.upper > histogram.lower)
    low, high, count = histogram.lower[finite], histogram.upper[finite], histogram.count[finite]
    share = np.clip((bounds[:, None] - low) / (high - low), 0, 1) @ count
    whole = ~finite
    ends = histogram.upper[whole]
    reached = bounds[:, None] > ends if strictly_below else bounds[:, None] >= ends
    steps = reached @ histogram.count[whole]
    return np.asarray(share + steps, np.float64)


def quantile(histogram: Buckets, q: float) -> float:
    """The value below which the fraction `q` of the observations lies; NaN of an empty histogram.

    Never beyond the outermost finite bounds; NaN where there are none.
    """
    occupied = histogram.count > 0
    held = Buckets(histogram.lower[occupied], histogram.upper[occupied], histogram.count[occupied])
    edges = np.unique(np.concatenate((held.lower, held.upper)))
    edges = edges[np.isfinite(edges)]
    if held.total == 0 or len(edges) == 0:
        return float("nan")
    below = at_most(held, edges)
    target = q * held.total
    place = int(np.searchsorted(below, target, side="left"))
    if place == 0:
        return float(edges[0])
    if place == len(edges):
        return float(edges[-1])
    before = at_most(held, edges[place : place + 1], strictly_below=True)[0]
    if target >= before:
        return float(edges[place])
    part = (target - below[place - 1]) / (before - below[place - 1])
    return float(edges[place - 1] + (edges[place] - edges[place - 1]) * part)


def quantiles(lower: Float64, upper: Float64, counts: Int64, q: float) -> Float64:
    """`quantile` of each of n histograms with the same disjoint ascending buckets; shape (n,).

    `lower` and `upper` of shape (k,), `counts` of (n, k). O(n k).
    """
    below = np.cumsum(counts, axis=1)
    target = q * below[:, -1]
    place = (below >= target[:, None]).argmax(axis=1)
    row = np.arange(len(counts))
    low, high, held = lower[place], upper[place], counts[row, place]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = low + (high - low) * (target - (below[row, place] - held)) / held
    found = np.where(np.isfinite(inside) & (high > low), inside, np.where(np.isfinite(high), high, low))
    return np.where((below[:, -1] > 0) & np.isfinite(found), found, np.nan)


def increase(point: Point, before: Point | None, *, first_span: int) -> Point | None:
    """What `point` of a cumulative stream added since `before`, the point of the same stream before it.

    None for a baseline, under the rule of `counters.increases`. A bucket that fell is an unannounced reset: the
    point then stands for itself. A change of explicit bounds within a stream makes a new baseline; a change of an
    exponential histogram's scale is evened out to the coarser one.
    """
    if before is None:
        fresh = 0 < point.start < point.time and point.time - point.start <= first_span
        return point if fresh else None
    if (point.layout.scale is None) != (before.layout.scale is None):
        return None
    if point.layout.scale is not None and before.layout.scale is not None:
        coarser = min(point.layout.scale, before.layout.scale)
        now, then = coarsened(point, coarser), coarsened(before, coarser)
    elif point.layout != before.layout:
        return None
    else:
        now, then = point, before
    offset, counts = _difference(now.offset, now.counts, then.offset, then.counts)
    negative_offset, negative = _difference(
        now.negative_offset, now.negative_counts, then.negative_offset, then.negative_counts
    )
    zeros = now.zero_count - then.zero_count
    if point.count < before.count or min((zeros, *counts, *negative)) < 0:
        return point
    return Point(
        point.signal,
        point.start,
        point.time,
        now.layout,
        point.count - before.count,
        point.sum - before.sum,
        counts,
        offset,
        zeros,
        negative_offset,
        negative,
    )


def coarsened(point: Point, scale: int) -> Point:
    """An exponential histogram at a smaller scale: each step down joins the buckets 2i and 2i + 1."""
    own = point.layout.scale
    if own is None or own <= scale:
        return point
    shift = own - scale
    offset, counts = _joined(point.offset, point.counts, shift)
    negative_offset, negative = _joined(point.negative_offset, point.negative_counts, shift)
    layout = Layout(scale=scale, zero_threshold=point.layout.zero_threshold)
    return Point(
        point.signal,
        point.start,
        point.time,
        layout,
        point.count,
        point.sum,
        counts,
        offset,
        point.zero_count,
        negative_offset,
        negative,
    )


def _joined(offset: int, counts: tuple[int, ...], shift: int) -> tuple[int, tuple[int, ...]]:
    if not counts:
        return offset >> shift, ()
    place = (np.arange(offset, offset + len(counts)) >> shift) - (offset >> shift)
    joined = np.zeros(int(place[-1]) + 1, np.int64)
    np.add.at(joined, place, np.array(counts, np.int64))
    return offset >> shift, tuple(joined.tolist())


def _difference(
    offset: int, counts: tuple[int, ...], offset_before: int, before: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    if not before:
        return offset, counts
    if offset == offset_before and len(counts) == len(before):
        return offset, tuple(map(sub, counts, before))
    if not counts:
        return offset_before, tuple(-count for count in before)
    lowest = min(offset, offset_before)
    highest = max(offset + len(counts), offset_before + len(before))
    row = np.zeros(highest - lowest, np.int64)
    row[offset - lowest : offset - lowest + len(counts)] = counts
    row[offset_before - lowest : offset_before - lowest + len(before)] -= np.array(before, np.int64)
    return lowest, tuple(row.tolist())
