"""A series at equal steps, as the methods that look at a whole history need it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.kernels import LARGEST, Float64, Int64

LONGEST = 32_768
"""Cells. What looks at a whole history costs up to the square of it, so longer series are averaged to fit."""
FARTHEST = 1e4
"""Scales from the median. What lies beyond counts as that far: one wild value must not drown all others."""


@dataclass(frozen=True)
class Grid:
    """`values`, shape (cells,), in the unit of the series: the mean of the points of each cell, NaN where there is
    none. `start` and `step` in microseconds; `averaged` is how many usual intervals make one step."""

    start: int
    step: int
    averaged: int
    values: Float64

    def at(self, cell: int) -> int:
        """Where a cell begins, in microseconds since the epoch."""
        return self.start + cell * self.step


def grid(at: npt.ArrayLike, values: npt.ArrayLike) -> Grid:
    """Put points, shape (n,), into cells of their median interval, or of a multiple where that makes more than
    LONGEST. In any order; those that are not finite, or beyond 1e300, are left out. O(n log n)."""
    when, what = np.asarray(at, np.int64), np.asarray(values, np.float64)
    if when.shape != what.shape or when.ndim != 1:
        raise ValueError("times and values must have one length")
    known = np.abs(what) <= LARGEST
    when, what = when[known], what[known]
    if len(when) == 0:
        return Grid(0, 1, 1, np.empty(0))
    start, usual = int(when.min()), _usual_interval(when)
    averaged = -(-((int(when.max()) - start) // usual + 1) // LONGEST)
    step = usual * averaged
    # Half an interval of grace: points that come a little early belong to the cell that they are meant for.
    cells: Int64 = (when - start + usual // 2) // step
    count = np.bincount(cells)
    with np.errstate(invalid="ignore"):
        return Grid(start, step, averaged, np.bincount(cells, what) / count)


def _usual_interval(when: Int64) -> int:
    """The median of the intervals; 1 where there are none."""
    apart = np.diff(np.unique(when))
    return int(np.median(apart)) if len(apart) else 1


def standardised(values: Float64) -> Float64:
    """In scales from the median: the median absolute deviation, or the mean one where most values are equal."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return values
    off = np.abs(known - np.median(known))
    scale = 1.4826 * float(np.median(off)) or float(np.mean(off)) or 1.0
    with np.errstate(over="ignore"):
        return np.clip((values - np.median(known)) / scale, -FARTHEST, FARTHEST)


def filled(values: Float64, longest: int) -> Float64:
    """Gaps of up to `longest` cells replaced by the straight line across them."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) == 0:
        return values
    cells = np.arange(len(values))
    after = np.minimum(np.searchsorted(known, cells), len(known) - 1)
    gap = known[after] - known[np.maximum(after - 1, 0)] - 1
    line = np.interp(cells, known, values[known], left=np.nan, right=np.nan)
    return np.where(np.isnan(values) & (gap <= longest), line, values)
