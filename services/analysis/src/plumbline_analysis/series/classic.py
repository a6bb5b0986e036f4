"""Classic histograms of Prometheus, put together again where they are read.

Each bucket is a signal of its own, the counter of the observations up to `le`: senders spread the buckets of one
scrape over requests, and these may come in any order, so only a reader has them all. The sum is another counter,
`<name>_sum`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.series.histograms import Point
from plumbline_analysis.sources.batch import Layout

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """The signals of one histogram: those of its buckets by ascending bound, the last of which is infinity, and that
    of its sum where there is one. The histogram goes by the number of its first bucket."""

    buckets: tuple[int, ...]
    layout: Layout
    sum: int | None

    @classmethod
    def of(cls, bounds: dict[int, str], sum: int | None) -> "Family | None":
        """From the `le` of each bucket's signal; None where the one to infinity is missing."""
        ordered = sorted((float(le), number) for number, le in bounds.items())
        if ordered[-1][0] != math.inf:
            return None
        layout = Layout(tuple(bound for bound, _ in ordered[:-1]))
        return cls(tuple(number for _, number in ordered), layout, sum)


def joined(families: Sequence[Family], signal: Int64, time: Int64, start: Int64, value: Float64) -> list[Point]:
    """The histograms of those scrapes of which every bucket is there. Columns of shape (n,), in any order.

    What a scrape lacks shows in the next one, for buckets are cumulative. O(n log n).
    """
    order = np.argsort(signal, kind="stable")
    numbers, begins = np.unique(signal[order], return_index=True)
    rows = dict(zip(numbers.tolist(), np.split(order, begins[1:]), strict=True)) if order.size else {}
    none = order[:0]
    found: list[Point] = []
    for family in families:
        if all(number in rows for number in family.buckets):
            sums = [] if family.sum is None else [rows.get(family.sum, none)]
            found += _points(family, [*(rows[number] for number in family.buckets), *sums], time, start, value)
    return found


def _points(family: Family, rows: Sequence[Int64], time: Int64, start: Int64, value: Float64) -> list[Point]:
    every = np.concatenate(rows)
    scrapes, scrape = np.unique(np.stack((start[every], time[every])), axis=1, return_inverse=True)
    table = np.full((scrapes.shape[1], len(rows)), np.nan)
    table[scrape.reshape(-1), np.repeat(np.arange(len(rows)), [each.size for each in rows])] = value[every]
    size = len(family.buckets)
    complete = ~np.isnan(table[:, :size]).any(axis=1)
    # A bucket never holds less than the one below it; where a scrape was torn, it is taken to hold as much.
    upto = np.maximum.accumulate(table[complete, :size], axis=1).astype(np.int64)
    counts = np.diff(upto, axis=1, prepend=0)
    sums = table[complete, size] if len(rows) > size else np.full(len(upto), np.nan)
    return [
        Point(
            signal=family.buckets[0],
            start=began,
            time=at,
            layout=family.layout,
            count=count,
            sum=total,
            counts=tuple(row),
        )
        for began, at, count, total, row in zip(
            scrapes[0, complete].tolist(),
            scrapes[1, complete].tolist(),
            upto[:, -1].tolist(),
            sums.tolist(),
            counts.tolist(),
            strict=True,
        )
    ]
