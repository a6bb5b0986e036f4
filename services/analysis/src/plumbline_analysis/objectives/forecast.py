"""When an error budget will be spent if it burns on as of late, and how sure that is. Pure.

The burn rate r of late is the bad part of the units over `of_late` seconds, in budgets. With s the part of the budget
that is spent, W the window's length and t the time from now, both in seconds:

    rolling window:    spent(t) = s + (r - s) t / W      what was spent in the window before leaves it evenly
    calendar window:   spent(t) = s + r t / W            until the window ends, and the budget is whole again

The budget is gone where spent(t) = 1. In a rolling window that never comes with r <= 1.

How sure r is: bad units come in bursts, so that k of them vary more than a Poisson count does. By how much, the
stretches between the alerting windows tell: phi = max(1, Pearson's chi-squared / (n - 1)) over the n of them with
units (McCullagh and Nelder 1989, 9.2). The interval is that of a Gamma distribution of k / phi bad units (Garwood
1936), its quantiles by Wilson and Hilferty (1931): 80 % of it, 10 % on each side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plumbline_analysis.objectives.rules import Counts

_Z = 1.2815515655446004
"""The normal distribution's 90 % quantile."""


@dataclass(frozen=True)
class Exhaustion:
    """Seconds from now until the budget is spent: as it looks, and at the earliest and the latest, each with a chance
    of 10 % to be wrong. None: not while the window lasts."""

    expected: float | None
    earliest: float
    latest: float | None


def exhaustion(
    remaining: float,
    spans: Mapping[float, Counts],
    of_late: float,
    target: float,
    *,
    window: float,
    left: float | None,
) -> Exhaustion | None:
    """None where it is not to be expected even at the earliest, nothing is known, or the budget is spent already.

    `remaining` is a part of the budget; `spans` has what there was in the last so many seconds, among them `of_late`;
    `window` is the window's length in seconds, `left` what is left of a calendar's.
    """
    of = spans[of_late]
    if remaining <= 0 or of.sli is None or of.good >= of.total:
        return None
    bad = of.total - max(of.good, 0.0)
    shape = bad / dispersion(spans)
    rates = [bad * factor / of.total / (1 - target) for factor in (1.0, *_interval(shape))]
    expected, latest, earliest = (_seconds(rate, remaining, window, left) for rate in rates)
    return None if earliest is None else Exhaustion(expected, earliest, latest)


def dispersion(spans: Mapping[float, Counts]) -> float:
    """How many times more the number of bad units varies than a Poisson count would, at least 1."""
    stretches = _stretches([spans[span] for span in sorted(spans)])
    total = sum(each.total for each in stretches)
    bad = sum(each.total - each.good for each in stretches)
    if len(stretches) < 2 or bad <= 0:
        return 1.0
    expected = [each.total * bad / total for each in stretches]
    squares = ((each.total - each.good - mean) ** 2 / mean for each, mean in zip(stretches, expected, strict=True))
    return max(1.0, math.fsum(squares) / (len(stretches) - 1))


def _stretches(nested: Sequence[Counts]) -> list[Counts]:
    """What lies between each of `nested` and the one before it, where there are units."""
    before = Counts(0.0, 0.0)
    found = []
    for counts in nested:
        # Adjustments may leave out more of the longer stretch; sums of floats may differ in the last digit.
        total = counts.total - before.total
        if total > 1e-9:
            found.append(Counts(min(max(counts.good - before.good, 0.0), total), total))
        before = counts
    return found


def _interval(shape: float) -> tuple[float, float]:
    """What a count of `shape`, once divided by it, lies between."""
    return _gamma(shape, -_Z) / shape, _gamma(shape + 1, _Z) / shape


def _gamma(shape: float, z: float) -> float:
    """The quantile of a Gamma distribution of scale 1 that the normal distribution has at `z`."""
    return shape * max(0.0, 1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape))) ** 3


def _seconds(rate: float, remaining: float, window: float, left: float | None) -> float | None:
    if left is not None:
        seconds = remaining * window / rate if rate > 0 else math.inf
        return seconds if seconds < left else None
    return remaining * window / (rate - (1 - remaining)) if rate > 1 else None
