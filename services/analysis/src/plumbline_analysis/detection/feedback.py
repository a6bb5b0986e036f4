"""From people's labels to the bar of one detector: the score at which it alarms. Pure.

The bar that costs least, of those from `LOWEST` to `HIGHEST` in hundredths. With c the present bar, s the peak score
of an anomaly that was labelled, M = `MARGIN`, and ramp(x) = 0 below -M, 1 above M, linear between:

    cost(b) = sum over false positives of      ramp(s - b)               such a false alarm comes again
            + sum over true positives of   W * ramp(b - s)               such an event is missed
            + b > c:  W * PRIOR * (1 - c / b)                            so are events that nobody has labelled
            + b < c:  PRIOR * (2 ** ((c - b) / DOUBLING) - 1)            so many false alarms come besides

The ramp says that another event like it may peak by up to M more or less. The last two terms stand for what is not
labelled: `PRIOR` true events with peaks above c whose share above b is c / b (Pareto), and `PRIOR` false alarms that
double with each `DOUBLING` that the bar falls. Of bars that cost the same the lowest is taken.

A term of a false positive never grows with b, and one of a true positive never falls. So by monotone comparative
statics (Topkis 1978) one more false positive never lowers the bar, and one more true positive never raises it. Costs
are counted in whole fortieths, so that ties are ties.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

LOWEST, HIGHEST = 0.5, 4.0
MARGIN = 0.2
MISSED = 3
"""W: an event that is missed costs as much as so many false alarms."""
PRIOR = 4
"""Worth so many labels of each kind."""
DOUBLING = 0.1

_MARGIN = round(MARGIN * 100)
_BARS: Int64 = np.arange(round(LOWEST * 100), round(HIGHEST * 100) + 1)


def propose(true: Sequence[float], false: Sequence[float], bar: float) -> float:
    """The bar by the peak scores of true and of false positives, where it is `bar` now. In hundredths; O(labels)."""
    cost = _prior(round(bar * 100)) + MISSED * _ramps(_BARS, _hundredths(true)) + _ramps(_hundredths(false), _BARS)
    return int(_BARS[np.argmin(cost)]) / 100


def _hundredths(scores: Sequence[float]) -> Int64:
    # What lies further beyond the highest bar than a margin says the same as what lies there.
    near = np.minimum(np.array(scores, np.float64), 2 * HIGHEST)
    rounded: Int64 = np.rint(100 * near).astype(np.int64)
    return rounded[:, None]


def _ramps(more: Int64, less: Int64) -> Int64:
    """The sums over labels of 2 M * ramp(more - less), for each bar: shape (bars,)."""
    ramps: Int64 = np.clip(more - less + _MARGIN, 0, 2 * _MARGIN).sum(axis=0)
    return ramps


def _prior(now: int) -> Int64:
    missed = MISSED * PRIOR * (1 - now / np.maximum(_BARS, now))
    besides = PRIOR * (2 ** (np.maximum(now - _BARS, 0) / (100 * DOUBLING)) - 1)
    prior: Int64 = np.rint(2 * _MARGIN * (missed + besides)).astype(np.int64)
    return prior
