"""Where the level of a history, or how much it varies, changed for good.

The best way to cut a series into pieces of constant mean is the one with the least squared error plus a penalty a
cut: exactly, by PELT (Killick, Fearnhead, Eckley, JASA 2012). The penalty is 3 v ln n, the leading part of the
modified BIC (Zhang, Siegmund, *Biometrics* 2007), with v the long-run variance in place of that of one cell: noise
that is autocorrelated, or that wanders, then needs more than other noise to pass for a change. v comes from the
differences of neighbouring means over blocks (Wu, Zhao, JRSS B 2007), which changes of level hardly touch.

A slope would come out as a flight of steps: a cut stays only where two levels fit the pieces beside it better than
one straight line. A change of variation is one of the level of ln(mean |Δx|) over blocks of cells; where there is
one, cells weigh by how noisy they are before and after it, so that noise that grows is not taken for levels.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from plumbline_analysis.detection.grid import Grid, standardised
from plumbline_analysis.detection.kernels import Float64, Int64
from plumbline_common.compiling import kernel

SHORTEST, LONGEST = 12, 144
"""Cells of the shortest piece: half a period of the shortest season, within these bounds. What is over sooner is an
event."""
PENALTY = 3.0
OUTLIER = 3.0
"""Scales from the running median, beyond which a cell counts as the median: no event is worth a cut."""
TILE = 128
"""Ends at a time that a piece may have: a run of memory for each of its beginnings."""
BLOCK = 8
"""Cells over which variation is measured."""
FEWEST_BLOCKS = 6
"""Blocks of a piece of one variation."""
CLOSEST = 0.98
"""No autocorrelation is taken to be higher: a series that wanders like that has no levels."""
QUARTILE = 0.6745
"""Of a normal distribution's absolute deviation, the median in standard deviations."""


class Kind(StrEnum):
    LEVEL = "level"
    VARIATION = "variation"


@dataclass(frozen=True)
class Changepoint:
    """`at` in microseconds, the first cell of what is new; of a change of variation to BLOCK cells. `before` and
    `after` in the unit of the series: the median of what the seasons leave, in the pieces before it and after it; of
    a change of variation the mean |Δx|. `strength`: what the cut gains, in penalties; about 1 or more."""

    kind: Kind
    at: int
    before: float
    after: float
    strength: float


@dataclass(frozen=True)
class Cut:
    """Between the piece `begin` to `at` and the piece `at` to `end`, as indices; `strength` as in Changepoint."""

    begin: int
    at: int
    end: int
    strength: float


def found(grid: Grid, rest: Float64, period: float | None = None) -> tuple[Changepoint, ...]:
    """The changes in `rest`, the grid's values without their seasons, in the order of time. `period`: that of the
    shortest season, in cells."""
    known = np.flatnonzero(~np.isnan(rest))
    values = rest[known]
    shortest = min(max(round((period or 0) / 2), SHORTEST), LONGEST)
    varied, means = _variations(values, shortest)
    noise = _noise(len(values), varied, means)
    changes = [
        Changepoint(
            Kind.VARIATION,
            grid.at(int(known[cut.at * BLOCK + 1])),
            float(np.mean(means[cut.begin : cut.at])),
            float(np.mean(means[cut.at : cut.end])),
            cut.strength,
        )
        for cut in varied
    ]
    changes += [
        Changepoint(
            Kind.LEVEL,
            grid.at(int(known[cut.at])),
            float(np.median(values[cut.begin : cut.at])),
            float(np.median(values[cut.at : cut.end])),
            cut.strength,
        )
        for cut in cuts(standardised(values), noise, shortest)
    ]
    return tuple(sorted(changes, key=lambda change: change.at))


def _variations(values: Float64, shortest: int) -> tuple[list[Cut], Float64]:
    """The changes of variation, in blocks, and the mean |Δx| of each block. None where most blocks do not vary."""
    steps = np.abs(np.diff(values))
    means = steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1)
    if len(means) == 0 or np.median(means) == 0.0:
        return [], means
    spread = np.log(means + 0.05 * means.mean())
    return cuts(spread, np.ones(len(spread)), max(shortest // BLOCK, FEWEST_BLOCKS)), means


def _noise(points: int, varied: list[Cut], means: Float64) -> Float64:
    """How noisy each point is beside the whole, shape (points,): the same between two changes of variation."""
    noise = np.ones(points)
    for begin, end in pairwise([0, *(cut.at for cut in varied), len(means)] if varied else []):
        share = np.mean(means[begin:end]) / means.mean()
        noise[begin * BLOCK + 1 : end * BLOCK + 1] = max(share, 0.05)
    return noise


def _calmed(values: Float64, noise: Float64, shortest: int) -> Float64:
    """Values with the running median over two shortest pieces in place of outliers. The scale is the median distance
    from it, or the mean one where most values are equal. O(n * shortest)."""
    if len(values) <= shortest:
        return values
    around = np.lib.stride_tricks.sliding_window_view(np.pad(values, shortest, "reflect"), 2 * shortest + 1)
    middle = np.median(around, axis=1)
    off = np.abs(values - middle) / noise
    scale = float(np.median(off)) / QUARTILE or float(np.mean(off))
    return np.where(off > OUTLIER * scale, middle, values)


def long_run_variance(values: Float64) -> float:
    """Of values of shape (n,): the larger of two estimates that changes of level hardly touch. Never 0 where values
    differ. O(n).

    By blocks: b times the variance of means over b, for the b = 1, 2, 4, … up to √n that gives most. By a model, for
    what is longer than such blocks: that of an autoregression of order 1 whose coefficient r comes from differences
    over one and two cells, v (1 + r) / (2 (1 - r)²) with v the variance of differences.
    """
    floor = 1e-8 * float(np.ptp(values)) ** 2 if len(values) else 0.0
    if len(values) < 3:
        return floor
    single, double = _variance(values[1:] - values[:-1]), _variance(values[2:] - values[:-2])
    correlation = min(max(double / single - 1.0, 0.0), CLOSEST) if single > 0.0 else 0.0
    modelled = single * (1.0 + correlation) / (2.0 * (1.0 - correlation) ** 2)
    blocks = 0.0
    for power in range(int(np.log2(len(values)) / 2) + 1):
        width = 2**power
        means = values[: len(values) // width * width].reshape(-1, width).mean(axis=1)
        blocks = max(blocks, width * _variance(np.diff(means)) / 2.0)
    return max(floor, modelled, blocks)


def _variance(differences: Float64) -> float:
    return float((np.median(np.abs(differences)) / QUARTILE) ** 2)


def cuts(values: Float64, noise: Float64, shortest: int) -> list[Cut]:
    """Where values of shape (n,) are best cut into pieces of at least `shortest`, in order; each weighs by how noisy
    it is, `noise` of shape (n,). O(n²) where nothing ever changes, O(n) where changes come steadily."""
    if len(values) < 2 * shortest:
        return []
    calm = _calmed(values - np.median(values), noise, shortest)
    unit = long_run_variance(np.cumsum(np.diff(calm, prepend=calm[0]) / noise)) * float(np.log(len(values)))
    if unit == 0.0:
        return []
    weights = noise**-2.0
    sums, lengths = (np.concatenate([[0.0], np.cumsum(each)]) for each in (weights * calm, weights))
    ends = places(pelt(sums, lengths, PENALTY * unit, shortest))
    found = []
    for begin, at, end in zip(ends, ends[1:], ends[2:], strict=False):
        none = _error(calm[begin:end], noise[begin:end], 0)
        line = _error(calm[begin:end], noise[begin:end], 1)
        step = _error(calm[begin:at], noise[begin:at], 0) + _error(calm[at:end], noise[at:end], 0)
        if line - step > unit:  # the place of a step is a parameter that a line has not
            found.append(Cut(begin, at, end, (none - step) / (PENALTY * unit)))
    return found


def places(last: Int64) -> list[int]:
    """Where the pieces of what `pelt` gives begin, and the end of the last one."""
    ends = [len(last) - 1]
    while ends[-1] > 0:
        ends.append(int(last[ends[-1]]))
    return ends[::-1]


def _error(values: Float64, noise: Float64, degree: int) -> float:
    """The squared error, in noises, that the best polynomial of a degree leaves."""
    place = np.linspace(-1.0, 1.0, len(values))
    fitted = np.polynomial.polynomial.polyfit(place, values, degree, w=1.0 / noise)
    return float(np.sum(((values - np.polynomial.polynomial.polyval(place, fitted)) / noise) ** 2))


@kernel(in_any_order=True)
def pelt(sums: Float64, lengths: Float64, price: float, shortest: int) -> Int64:
    """For each end, 0 to n, where the last piece of the best cutting up to there begins; -1 where there is none.

    `sums` and `lengths` (n + 1,): of the weighted values and of the weights before each index.
    """
    best, last = np.full(len(sums), np.inf), np.full(len(sums), -1)
    best[0] = -price
    # Beginnings from which a piece may still be best.
    begins, count = np.empty(len(sums), np.int64), 0
    for tile in range(0, len(sums), TILE):
        stop = min(tile + TILE, len(sums))
        for begin in begins[:count]:
            reach(sums, lengths, best, last, begin, max(tile, begin + shortest), stop)
        for end in range(tile, stop):
            if best[end] < np.inf:
                best[end] += price if end > 0 else 0.0
                reach(sums, lengths, best, last, end, end + shortest, stop)
                begins[count] = end
                count += 1
        # A cut here, and a piece from here on, is never worse than a piece that goes on from such a beginning.
        here, kept = stop - shortest, 0
        for begin in begins[:count]:
            part = sums[here] - sums[begin]
            if begin > here - shortest or best[begin] - part * part / (lengths[here] - lengths[begin]) < best[here]:
                begins[kept] = begin
                kept += 1
        count = kept
    return last


@kernel(in_any_order=True)
def reach(sums: Float64, lengths: Float64, best: Float64, last: Int64, begin: int, first: int, stop: int) -> None:
    """Try the piece from `begin` to each end from `first` up to before `stop`. It costs its squared error, less the
    sum of squares, which is the same for all cuttings: -(sum of its values)² / its length."""
    before, length_before, so_far = sums[begin], lengths[begin], best[begin]
    # From 0 on, so that the compiler takes several at once.
    sums_there, lengths_there = sums[first:stop], lengths[first:stop]
    best_there, last_there = best[first:stop], last[first:stop]
    for index in range(stop - first):
        part = sums_there[index] - before
        cost = so_far - part * part / (lengths_there[index] - length_before)
        better = cost < best_there[index]
        best_there[index] = cost if better else best_there[index]
        last_there[index] = begin if better else last_there[index]
