"""Which periods a whole history repeats by, and what it is without them.

Candidates are the day, the week, and the highest peaks of the autocorrelation (Vlachos et al., *On Periodicity
Detection and Structural Similarity*, SDM 2005, take their periods from it too). A candidate is believed only where
it foretells: each cycle from the mean of all others. Noise has peaks of autocorrelation as well, but foretells
nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from plumbline_analysis.detection.grid import Grid, filled, standardised
from plumbline_analysis.detection.kernels import Float64, Int64

DAY_US = 86_400_000_000
CYCLES, UNEXPECTED_CYCLES = 3, 5
"""Fewer are no repetition; more are asked of a period that is neither day nor week: noise may have it by chance."""
SHORTEST = 4
"""Cells of a period: with fewer, a season is hardly told from a rough series."""
BETTER = 0.8
"""A season is believed where it leaves less than this share of the mean absolute residual, as the engine does."""
ALIKE = 0.7
"""Of periods that explain so much of what the best one does the shortest is taken: twice a period repeats as well,
and what a week has beside its days is found in what the days leave."""
NEAR = 0.03
"""A peak of autocorrelation so near the day or the week is theirs."""
PEAKS = 8
MOST = 2
OUTLIER = 5.0


@dataclass(frozen=True)
class Season:
    """`period_us` in microseconds, `cells` in cells of the grid, not always whole; `explained`: the share of the mean
    absolute residual that it takes away, each cycle foretold by the others."""

    period_us: float
    cells: float
    explained: float


def found(grid: Grid) -> tuple[tuple[Season, ...], Float64]:
    """The seasons, at most two, the strongest first; and the values without them. O(n log n)."""
    seasons: list[Season] = []
    rest = grid.values
    while len(seasons) < MOST and (best := _strongest(grid, rest)):
        seasons.append(best)
        rest = rest - profile(rest, best.cells)[phases(len(rest), best.cells)]
        if best.explained > 1 - 1e-6:
            break
    return tuple(seasons), rest


def phases(cells: int, period: float) -> Int64:
    """The place of each cell in its cycle, 0 to round(period) - 1."""
    slots = round(period)
    share = np.arange(cells) / period % 1.0
    return np.minimum((share * slots + 1e-6).astype(np.int64), slots - 1)


def profile(values: Float64, period: float) -> Float64:
    """The usual departure from the level at each place of the cycle, shape (round(period),): medians, so that single
    events do not count."""
    phase, slots = phases(len(values), period), round(period)
    off = values - level(values, slots)
    order = np.lexsort((off, phase))  # NaN comes last in each place
    known = np.bincount(phase[~np.isnan(off)], minlength=slots)
    begin = np.searchsorted(phase[order], np.arange(slots))
    last = len(off) - 1
    low, high = (off[order[np.minimum(begin + np.maximum(part, 0), last)]] for part in ((known - 1) // 2, known // 2))
    usual: Float64 = np.where(known > 0, low / 2 + high / 2, 0.0)
    usual -= usual.mean()
    return usual


def level(values: Float64, width: int) -> Float64:
    """The mean over `width` cells around each, as far as there are any; NaN where there is none."""
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    left = np.maximum(np.arange(len(values)) - width // 2, 0)
    right = np.minimum(np.arange(len(values)) - width // 2 + width, len(values))
    with np.errstate(invalid="ignore"):
        means: Float64 = (sums[right] - sums[left]) / (counts[right] - counts[left])
    return means


def _strongest(grid: Grid, values: Float64) -> Season | None:
    plain = np.clip(standardised(values), -OUTLIER, OUTLIER)
    left = [(_left_over(plain, period), period) for period in sorted(set(_candidates(grid, plain)))]
    best = min((share for share, _ in left), default=1.0)
    if best >= BETTER:
        return None
    most = max(1.0 - ALIKE * (1.0 - best), best)
    share, period = next(each for each in left if each[0] <= min(most, BETTER))
    return Season(period * grid.step, period, 1.0 - share)


def _candidates(grid: Grid, plain: Float64) -> Iterator[float]:
    calendar = [period / grid.step for period in (DAY_US, 7 * DAY_US)]
    expected = [period for period in calendar if SHORTEST <= period <= len(plain) / CYCLES]
    yield from expected
    longest = len(plain) // UNEXPECTED_CYCLES
    if longest <= SHORTEST:
        return
    likeness = _autocorrelation(plain)[: len(plain) // 2]
    before, here, after = likeness[: longest - 1], likeness[1:longest], likeness[2 : longest + 1]
    peaks = 1 + np.flatnonzero((here > 0) & (here >= before) & (here > after))
    peaks = peaks[peaks >= SHORTEST]
    # Rounded, so that of peaks that are as high the shortest come first.
    for lag in peaks[np.argsort(-likeness[peaks].round(2), kind="stable")][:PEAKS]:
        period = _refined(likeness, int(lag))
        if not any(abs(period - other) < NEAR * other for other in expected):
            yield period


def _autocorrelation(plain: Float64) -> Float64:
    """At lags 0 to n - 1, over the pairs of which both are known; without a straight line through it all."""
    known = ~np.isnan(plain)
    cells = np.flatnonzero(known)
    flat = np.zeros(len(plain))
    flat[known] = plain[known] - np.polyval(np.polyfit(cells, plain[known], 1), cells) if len(cells) > 2 else 0.0
    size = 1 << (2 * len(plain) - 1).bit_length()
    products, pairs = (
        np.fft.irfft(np.abs(np.fft.rfft(each, size)) ** 2, size)[: len(plain)] for each in (flat, known * 1.0)
    )
    # Where gaps leave few pairs, likeness means less.
    likeness: Float64 = products / np.maximum(pairs, 0.5 * pairs[0]) / max(products[0] / pairs[0], 1e-300)
    return likeness


def _refined(likeness: Float64, lag: int) -> float:
    """A period to a part of a cell, from where the peaks of its multiples lie."""
    period, multiple = float(lag), 2
    while multiple * period + 2 < len(likeness):
        begin = round(multiple * period) - 1
        period = (begin + int(np.argmax(likeness[begin : begin + 3]))) / multiple
        multiple *= 2
    return period


def _left_over(plain: Float64, period: float) -> float:
    """The mean absolute residual where each cycle is foretold by the mean of the others, as a share of that of the
    level alone; infinite where fewer than CYCLES cycles are known."""
    slots = round(period)
    off = plain - level(filled(plain, slots), slots)
    known = ~np.isnan(off)
    phase = phases(len(plain), period)[known]
    off = off[known]
    sums, counts = np.bincount(phase, off, slots), np.bincount(phase, minlength=slots)
    others = counts[phase] - 1
    told = others >= CYCLES - 1
    usual = np.mean(np.abs(off[told])) if told.any() else 0.0
    if np.count_nonzero(told) < CYCLES * slots / 2 or usual < 1e-9:
        return np.inf
    foretold = (sums[phase] - off)[told] / others[told]
    return float(np.mean(np.abs(off[told] - foretold)) / usual)
