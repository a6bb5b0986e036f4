"""How unusual a series has been lately: a curve over the engine's score, for looking at and for ranking series.

The score says how unusual one point is, and falls between the points of an event. This curve rises with an event and
falls slowly after it: the mean of the score over about 8, 32 and 96 points, and of that the largest lately, which
halves every 150 points. It sees nothing of what comes after a point.
"""

import numpy as np

from plumbline_analysis.detection import kernels
from plumbline_analysis.detection.kernels import Float64
from plumbline_common.compiling import kernel

SPANS = kernels.MEAN_SPANS
HELD = len(SPANS)
"""The state: a mean for each of SPANS, then the largest lately."""


def before_the_first() -> Float64:
    """The state of a series that has no score yet, shape (4,). It is 32 bytes to keep."""
    return np.zeros(HELD + 1)


@kernel()
def _follow(state: Float64, scores: Float64, curve: Float64) -> None:
    for index in range(len(scores)):
        if scores[index] >= 0.0:
            total = 0.0
            for number, span in enumerate(SPANS):
                state[number] += (scores[index] - state[number]) / span
                total += state[number]
            state[HELD] = max(state[HELD] * kernels.WANE, total / HELD)
        curve[index] = state[HELD]


def lately(scores: Float64, state: Float64) -> Float64:
    """The curve at each score, shape (n,), not negative; a NaN changes nothing. Brings `state` up to date. O(n)."""
    curve = np.empty(len(scores))
    _follow(state, scores, curve)
    return curve
