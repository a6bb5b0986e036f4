"""The arithmetic of objectives, after OpenSLO v1 and the alerting chapter of Google's SRE Workbook. Pure.

An objective counts good and total units: events, or slices of time. Its error budget is the part 1 - target of the
total that may be bad; a burn rate of 1 spends it exactly within the SLO's window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from plumbline_analysis.verdicts.rules import SEVERITY
from plumbline_common.schemas import AlertSeverity, Objective, Operator, VerdictState

Float64 = npt.NDArray[np.float64]

SECOND: Final = 1_000_000

# Of a 30 day window: 2 % of the budget in 1 h, seen in the last 5 min; 5 % in 6 h and 30 min; 10 % in 1 d and 2 h;
# 10 % in 3 d and 6 h. The first two are for whoever is on call, at any hour.
_THIRTY_DAYS = 30 * 86_400
_ALERTS: Final[tuple[tuple[int, int, float, AlertSeverity], ...]] = (
    (3_600, 300, 14.4, AlertSeverity.PAGE),
    (21_600, 1_800, 6.0, AlertSeverity.PAGE),
    (86_400, 7_200, 3.0, AlertSeverity.TICKET),
    (259_200, 21_600, 1.0, AlertSeverity.TICKET),
)


@dataclass(frozen=True)
class Counts:
    """Good and total units of some stretch of time."""

    good: float
    total: float

    @property
    def sli(self) -> float | None:
        """The good fraction; None without any unit. Good and total may come from metrics that arrive apart."""
        return min(max(self.good / self.total, 0.0), 1.0) if self.total > 0 else None


def budget_remaining(counts: Counts, target: float, slices: float | None = None) -> float | None:
    """1 for the whole budget, 0 for none left, negative when overspent; None without data.

    A budget of time is known beforehand: `slices`, how many the whole window holds, also while it fills up. A budget
    of events is the part of those that there were.
    """
    if counts.sli is None:
        return None
    if slices is not None and slices > counts.total:
        return 1 - (1 - counts.sli) * counts.total / (slices * (1 - target))
    return 1 - (1 - counts.sli) / (1 - target)


def burn_rate(counts: Counts, target: float) -> float | None:
    """How many times faster than sustainable the budget is spent; None without data."""
    return None if counts.sli is None else (1 - counts.sli) / (1 - target)


@dataclass(frozen=True)
class BurnAlert:
    """Burning when the rate over `long` and over `short` (seconds) both reach `rate`."""

    long: float
    short: float
    rate: float
    severity: AlertSeverity = AlertSeverity.PAGE


def burn_alerts(window: float, *, short_floor: float, long_floor: float) -> tuple[BurnAlert, ...]:
    """The multi-window alerts of an SLO window of `window` seconds.

    They scale with the window, but not below the floors: a few seconds hold too few events to judge by. None looks
    further back than the window itself. Where a floor makes the long window a large part of the whole, the rate comes
    down (never below 1), so that the alert still comes before half of the budget is gone.
    """
    found = []
    for long_of_30d, short_of_30d, rate, severity in _ALERTS:
        long = min(max(long_of_30d * window / _THIRTY_DAYS, long_floor), window)
        short = min(max(short_of_30d * window / _THIRTY_DAYS, short_floor), window)
        found.append(BurnAlert(long, short, min(rate, max(0.5 * window / long, 1.0)), severity))
    return tuple(found)


def burning(long: Counts, short: Counts, alert: BurnAlert, target: float, minimum: float) -> bool:
    """Whether the alert holds. Below `minimum` units in the long window nothing is said: low traffic is no fault."""
    slow, fast = burn_rate(long, target), burn_rate(short, target)
    if slow is None or fast is None or long.total < minimum:
        return False
    return slow >= alert.rate and fast >= alert.rate


def objective_state(
    window: Counts,
    target: float,
    *,
    is_burning: bool,
    minimum: float,
    stale: bool,
    slices: float | None = None,
) -> VerdictState:
    """What one evaluation says, before `settle`. `stale`: nothing has been heard of the signals for too long.

    `slices`, for a budget of time, is how many of them the whole window holds.
    """
    remaining = budget_remaining(window, target, slices)
    if remaining is None or window.total < minimum or stale:
        return VerdictState.NO_DATA
    # Counts are sums of floats: a budget that is spent to the last digit is spent.
    if remaining <= 1e-9:
        return VerdictState.VIOLATED
    return VerdictState.AT_RISK if is_burning else VerdictState.MET


@dataclass(frozen=True)
class Standing:
    """A state that does not flap: `candidate` takes its place after `held` evaluations in a row that say so."""

    state: VerdictState | None = None
    candidate: VerdictState | None = None
    held: int = 0
    reached: float = 0.0
    """Of the budget policy: the part spent of the last rule that applies, 0 where none does."""
    paged: bool = False
    """Whether it is at risk so that somebody was paged."""


def settle(standing: Standing, seen: VerdictState, hold: int) -> Standing:
    """The standing after an evaluation. Trouble shows at once; recovery, and loss of data, must hold `hold` times."""
    if seen is standing.state:
        return Standing(seen, reached=standing.reached)
    trouble = seen in (VerdictState.AT_RISK, VerdictState.VIOLATED)
    worsens = standing.state is None or (trouble and SEVERITY.index(seen) > SEVERITY.index(standing.state))
    held = standing.held + 1 if seen is standing.candidate else 1
    if worsens or held >= hold:
        return Standing(seen, reached=standing.reached)
    return replace(standing, candidate=seen, held=held)


def reached(parts: Iterable[float], spent: float | None, before: float) -> float:
    """The last of the `parts` of a budget policy that is spent, 0 for none; what it was `before` without data.

    One that was reached is left when a tenth less of it is spent: a budget that hovers there tells nothing new.
    """
    if spent is None:
        return max((part for part in parts if part <= before), default=0.0)
    return max((part for part in parts if spent >= (0.9 * part if part <= before else part) - 1e-9), default=0.0)


# --- From slices to units ---------------------------------------------------------------------------------


def satisfies(value: Float64, op: Operator, threshold: float) -> Float64:
    """1 where the value meets the objective, 0 where it does not, NaN where there is none; shape (n,)."""
    holds = {
        "lte": value <= threshold,
        "lt": value < threshold,
        "gte": value >= threshold,
        "gt": value > threshold,
    }[op]
    return np.where(np.isnan(value), np.nan, holds.astype(np.float64))


def events(numerator: Float64, total: Float64, *, numerator_is_bad: bool) -> tuple[Float64, Float64]:
    """Good and total events of each slice, 0 where there were none; shapes (n,)."""
    whole, part = np.nan_to_num(total, nan=0.0), np.nan_to_num(numerator, nan=0.0)
    return (whole - part if numerator_is_bad else part), whole


def ready_made(ratio: Float64, *, failures: bool) -> tuple[Float64, Float64]:
    """A slice for which there is a ratio is a unit, as good as the ratio says; shapes (n,)."""
    known = ~np.isnan(ratio)
    good = np.where(known, np.clip(1 - ratio if failures else ratio, 0.0, 1.0), 0.0)
    return good, known.astype(np.float64)


def time_slices(good: Float64, total: Float64, share: float | None) -> tuple[Float64, Float64]:
    """Each slice with units counts once: as good where at least `share` of its units are good; shapes (n,).

    Without `share` it is as good as the fraction of its units that are (OpenSLO's RatioTimeslices).
    """
    counted = total > 0
    fraction = np.divide(good, total, out=np.zeros(len(good)), where=counted)
    if share is None:
        return np.clip(fraction, 0.0, 1.0), counted.astype(np.float64)
    return (counted & (fraction >= share - 1e-12)).astype(np.float64), counted.astype(np.float64)


def slice_share(objective: Objective) -> float:
    """`timeSliceTarget`, or the target itself where it is left out."""
    return objective.time_slice_target if objective.time_slice_target is not None else objective.fraction
