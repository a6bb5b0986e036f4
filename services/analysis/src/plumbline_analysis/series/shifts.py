"""Whether a series moved at a moment: what it was after it against what it was before. Pure."""

from dataclasses import dataclass

import numpy as np

from plumbline_analysis.series.slices import Float64

LEAST_BEFORE = 5
"""Fewer slices with data are no ground to say what was usual."""
DEVIATIONS = 5.0
RELATIVE = 0.2
_SIGMA = 1.4826
_FLOOR = 0.05
MOST = 100.0
"""Of a series that never varied, any change is infinitely unusual."""


@dataclass(frozen=True)
class Shift:
    """Medians before and after, in the unit of the series; `deviations` by how many of its own it moved."""

    before: float
    after: float
    deviations: float


def shift(values: Float64, split: int) -> Shift | None:
    """How the series moved with slice `split`; `values` of shape (n,), NaN where a slice has no data.

    The deviations are `|after - before| / max(1.4826 MAD, 0.05 |before|)` with the median absolute deviation of the
    slices before. None where it moved by fewer than 5 of them, by less than a fifth, or where there is too little
    data. O(n).
    """
    past, since = values[:split], values[split:]
    past, since = past[~np.isnan(past)], since[~np.isnan(since)]
    if len(past) < LEAST_BEFORE or not len(since):
        return None
    before, after = float(np.median(past)), float(np.median(since))
    moved = abs(after - before)
    scale = max(_SIGMA * float(np.median(np.abs(past - before))), _FLOOR * abs(before))
    deviations = min(moved / scale, MOST) if scale > 0 else MOST
    if moved == 0 or moved < RELATIVE * abs(before) or deviations < DEVIATIONS:
        return None
    return Shift(before, after, deviations)
