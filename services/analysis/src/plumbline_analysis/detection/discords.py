"""Discords: the stretches of a history that are least like any other (Keogh, Lin, Fu, *HOT SAX*, ICDM 2005).

By the exact matrix profile (Yeh et al., ICDM 2016): for each window of m cells the Euclidean distance, both brought
to mean 0 and deviation 1, to the most similar window that does not overlap it by more than three quarters. Distances
come from covariances that are brought up to date along diagonals (Zimmerman et al., *SCAMP*, SoCC 2019):

    d² = 2 m (1 - cov / (|a| |b|)),  cov(i + 1, j + 1) = cov(i, j) + f(i) g(j) + f(j) g(i)

Windows that are constant have no shape: 0 from each other, √m from all others.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.grid import Grid, filled, standardised
from plumbline_analysis.detection.kernels import Float64, Int64
from plumbline_common.compiling import kernel

TILE = 512
"""Diagonals at a time: what they need fits the processor's nearest cache."""
SHORTEST = 8
"""Cells of a window: fewer have hardly a shape."""
USUAL_WINDOW = 64
"""Cells of a window where there is no season to go by."""
GAP_SHARE = 10
"""Gaps of up to a tenth of a window are bridged."""
FLAT = 1e-7
"""A window whose deviation is less than this, in scales of the series, is constant: rounding is no shape."""


@dataclass(frozen=True)
class Discord:
    """`begin` and `end` in microseconds, the end excluded; `distance` to the most similar window, which begins at
    `nearest`, between 0 and 2 √m; `usual` is the median of all windows' distances."""

    begin: int
    end: int
    distance: float
    usual: float
    nearest: int


@kernel(in_any_order=True)
def left_profile(values: Float64, means: Float64, inverse: Float64, window: int, apart: int) -> tuple[Float64, Int64]:
    """The highest correlation of each window with one that begins at least `apart` earlier, and where that begins.

    `values` (n,) without NaN; `means` (k,) of the k = n - window + 1 windows; `inverse` (k,) of their norms: 0 for
    constant ones, NaN for those that are not to be looked at. Correlation -1 and place -1 where there is none.
    O(n²), some 0.3 ns a pair.
    """
    count = len(means)
    best, where = np.full(count, -1.0), np.full(count, -1)
    f, g = np.zeros(count), np.zeros(count)
    for index in range(1, count):
        f[index] = 0.5 * (values[index + window - 1] - values[index - 1])
        g[index] = values[index + window - 1] - means[index] + values[index - 1] - means[index - 1]
    for first in range(apart, count, TILE):
        width = min(TILE, count - first)
        covariance = np.zeros(width)
        for step in range(window):
            own = values[step] - means[0]
            for lag in range(width):
                covariance[lag] += own * (values[first + lag + step] - means[first + lag])
        for row in range(count - first):
            width = min(width, count - first - row)
            begin = first + row
            f_row, g_row, inverse_row = f[row], g[row], inverse[row]
            f_there, g_there = f[begin : begin + width], g[begin : begin + width]
            inverse_there, best_there = inverse[begin : begin + width], best[begin : begin + width]
            where_there = where[begin : begin + width]
            for lag in range(width):
                covariance[lag] += f_row * g_there[lag] + f_there[lag] * g_row
                likeness = covariance[lag] * inverse_row * inverse_there[lag]
                better = likeness > best_there[lag]
                best_there[lag] = likeness if better else best_there[lag]
                where_there[lag] = row if better else where_there[lag]
    return best, where


@kernel(in_any_order=True)
def moments(values: Float64, window: int) -> tuple[Float64, Float64]:
    """Mean of each window and norm about it, shapes (n - window + 1,). O(n * window): no sum runs on and loses
    digits."""
    count = len(values) - window + 1
    means, norms = np.empty(count), np.empty(count)
    for index in range(count):
        mean = square = 0.0
        for cell in values[index : index + window]:
            mean += cell
        mean /= window
        for cell in values[index : index + window]:
            square += (cell - mean) ** 2
        means[index], norms[index] = mean, np.sqrt(square)
    return means, norms


def matrix_profile(values: Float64, window: int) -> tuple[Float64, Int64]:
    """Distance of each window to its nearest neighbour and where that begins, shapes (n - window + 1,). NaN and -1
    for windows that hold a NaN, or that have no neighbour. Scale and offset of the values do not matter. O(n²)."""
    plain = standardised(values)
    apart = -(-window // 4)
    known = ~np.isnan(plain)
    whole = np.convolve(known, np.ones(window), "valid") > window - 0.5
    plain = np.where(known, plain, 0.0)
    means, norms = moments(plain, window)
    flat = norms < FLAT * np.sqrt(window)
    inverse = np.where(whole, np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, norms)), np.nan)
    best, where = left_profile(plain, means, inverse, window, apart)
    plain, means, inverse = (each[::-1].copy() for each in (plain, means, inverse))
    after, place = left_profile(plain, means, inverse, window, apart)
    after, place = after[::-1], len(means) - 1 - place[::-1]
    where = np.where(after > best, place, where)
    best = np.maximum(best, after)
    _meet(best, where, flat & whole, np.where(flat, 1.0, 0.5), apart)
    _meet(best, where, ~flat & whole, np.where(flat, 0.5, -1.0), apart)
    alone = ~whole | (best <= -1.0)
    distance = np.sqrt(np.maximum(2.0 * window * (1.0 - best), 0.0))
    return np.where(alone, np.nan, distance), np.where(alone, -1, where)


def _meet(best: Float64, where: Int64, group: npt.NDArray[np.bool_], likeness: Float64, apart: int) -> None:
    """Let all windows meet those of a group, to which they are as like as `likeness` says, shape (k,). If any of the
    group begins far enough away, its first or its last one does."""
    members = np.flatnonzero(group)
    for other in members[[0, -1]] if len(members) else ():
        closer = (np.abs(np.arange(len(best)) - other) >= apart) & (likeness > best)
        best[closer], where[closer] = likeness[closer], other


def window_of(cells: int, period: float | None) -> int:
    """How many cells a window has: a period of the season, or USUAL_WINDOW; at most a quarter of all."""
    return max(SHORTEST, min(round(period or USUAL_WINDOW), cells // 4))


def found(grid: Grid, window: int, most: int = 3) -> tuple[Discord, ...]:
    """The windows furthest from their nearest neighbours, none overlapping another, the most unusual first."""
    if len(grid.values) < 2 * window:
        return ()
    distance, nearest = matrix_profile(filled(grid.values, window // GAP_SHARE), window)
    left = np.where(np.isnan(distance), -1.0, distance)
    usual = float(np.median(left[left >= 0])) if (left >= 0).any() else 0.0
    discords: list[Discord] = []
    while len(discords) < most and left.max() > 0:
        here = int(np.argmax(left))
        begin, end, other = (grid.at(cell) for cell in (here, here + window, int(nearest[here])))
        discords.append(Discord(begin, end, float(distance[here]), usual, other))
        left[max(here - window + 1, 0) : here + window] = -1.0
    return tuple(discords)
