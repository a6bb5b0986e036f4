"""An SLO over a history: its budget moment by moment, and the alerts that it would have fired. Pure, CPU-bound.

The arithmetic is that of `objectives.rules`, over whole columns: element i of a column is what an evaluation at the
end of slice i would have said. Budget adjustments are not looked at: they belong to requirements.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbline_analysis.jobs.kind import Report
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import measure, rules, windows
from plumbline_analysis.objectives.measure import Part, Unmeasured
from plumbline_analysis.objectives.rules import SECOND, BurnAlert
from plumbline_analysis.series.slices import Float64, Grid, Int64
from plumbline_analysis.what_if.schemas import (
    CURVE,
    MOST_TOLD,
    BudgetMoment,
    WhatIfAlert,
    WhatIfObjective,
    WhatIfResult,
)
from plumbline_common.schemas import AlertSeverity, TimeWindow

Flags = npt.NDArray[np.bool_]
_SPENT = 1e-9
"""As in `rules.objective_state`: what is left below it is only the last digits of sums."""


@dataclass(frozen=True)
class Limits:
    """What the service judges by: as in its settings, in seconds, units and evaluations of `step` seconds."""

    step: int
    short_floor: float
    long_floor: float
    minimum_events: int
    minimum_slices: int
    hold: int


@dataclass(frozen=True)
class Inputs:
    """What a worker's process is given. `requests` are the parts of the SLO that can be measured."""

    start: int
    end: int
    requests: Sequence[measure.Request]
    lacking: Sequence[Unmeasured]
    limits: Limits


def run(inputs: Inputs, report: Report) -> dict[str, Any]:
    """O(points + slices) for each objective."""
    found: list[WhatIfObjective] = []
    for place, request in enumerate(inputs.requests):
        report(place / len(inputs.requests), f"measures {request.part.slo.name}")
        measured = measure.measure(request)
        for index, (grid, units) in enumerate(zip(request.grids, measured.units, strict=True)):
            found.append(simulated(request.part, index, grid, *units, inputs.limits))
    found += map(_unmeasured, inputs.lacking)
    numbers = {signal.number for each in inputs.requests for role in each.signals.values() for signal in role}
    result = WhatIfResult(
        start=moment(inputs.start),
        end=moment(inputs.end),
        signals=len(numbers),
        objectives=sorted(found, key=lambda each: each.objective),
    )
    return result.model_dump(mode="json")


def simulated(part: Part, index: int, grid: Grid, good: Float64, total: Float64, limits: Limits) -> WhatIfObjective:
    """One objective whose good and total units are counted, shape (grid.count,) each."""
    target = part.slo.objectives[index].fraction
    minimum = limits.minimum_events if measure.counts_events(part) else limits.minimum_slices
    totals = Totals(grid.step, np.concatenate([[0.0], np.cumsum(good)]), np.concatenate([[0.0], np.cumsum(total)]))
    remaining, rate, slow = (np.full(grid.count, np.nan) for _ in range(3))
    paging, ticketing, enough = (np.zeros(grid.count, np.bool_) for _ in range(3))
    for stretch in stretches(part.slo.time_window[0], grid):
        alerts = rules.burn_alerts(stretch.length, short_floor=limits.short_floor, long_floor=limits.long_floor)
        slices = stretch.length * SECOND / grid.step if part.slo.budgeting_method.of_time else None
        within = totals.between(stretch.since, stretch.at)
        remaining[stretch.at] = budget_remaining(*within, target, slices)
        enough[stretch.at] = within[1] >= minimum
        rate[stretch.at] = burn_rate(*totals.last(alerts[0].short, stretch.at), target)
        for alert in alerts:
            held, over_long = burning(totals, stretch.at, alert, target, minimum)
            flags = paging if alert.severity is AlertSeverity.PAGE else ticketing
            flags[stretch.at] |= held
            slow[stretch.at] = np.fmax(slow[stretch.at], np.where(held, over_long, np.nan))
    fired = alerted(grid, paging, ticketing, slow, max(1, -(-limits.hold * limits.step * SECOND // grid.step)))
    counts = rules.Counts(float(totals.good[-1]), float(totals.total[-1]))
    known = remaining[~np.isnan(remaining)]
    spent = np.flatnonzero(enough & (remaining <= _SPENT))
    return WhatIfObjective(
        slo=part.slo.name,
        objective=part.first + index,
        target=target,
        good=counts.good,
        total=counts.total,
        sli=counts.sli,
        budget_burned=1 - float(known[-1]) if len(known) else None,
        budget_lowest=float(known.min()) if len(known) else None,
        exhausted_at=moment(int(grid.ends[spent[0]])) if len(spent) else None,
        pages=sum(each.severity is AlertSeverity.PAGE for each in fired),
        tickets=sum(each.severity is AlertSeverity.TICKET for each in fired),
        alerts=fired[:MOST_TOLD],
        curve=_curve(grid, remaining, rate),
        missing=None if counts.total else "no units in that time",
    )


# --- Columns ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """Running totals where n slices of `step` microseconds begin and end, shape (n + 1,)."""

    step: int
    good: Float64
    total: Float64

    def between(self, since: Int64, at: Int64) -> tuple[Float64, Float64]:
        """The units of the slices that end after `since` slices, up to and with slice `at`."""
        return self.good[at + 1] - self.good[since], self.total[at + 1] - self.total[since]

    def last(self, seconds: float, at: Int64) -> tuple[Float64, Float64]:
        """The units of the last `seconds` at the end of slice `at`; a slice that is in them in part counts."""
        return self.between(np.maximum(at + 1 - self.slices(seconds), 0), at)

    def slices(self, seconds: float) -> int:
        return -(-round(seconds * SECOND) // self.step)


@dataclass(frozen=True)
class Stretch:
    """Slices `at` that are judged by windows of one length, in seconds, and after how many slices theirs begin."""

    at: Int64
    since: Int64
    length: float


def stretches(window: TimeWindow, grid: Grid) -> Iterator[Stretch]:
    """A rolling window is one stretch, a calendar's windows are one each."""
    place = 0
    while place < grid.count:
        end = moment(grid.start + (place + 1) * grid.step)
        begin, until = windows.bounds(window, end)
        length = (until - begin).total_seconds()
        if window.calendar is None:
            at = np.arange(grid.count)
            since = at + 1 - -(-round(length * SECOND) // grid.step)
        else:
            last = min(grid.count, max(place + 1, (micros(until) - grid.start) // grid.step))
            at = np.arange(place, last)
            since = np.full(len(at), (micros(begin) - grid.start) // grid.step)
        yield Stretch(at, np.maximum(since, 0), length)
        place = int(at[-1]) + 1


def _bad(good: Float64, total: Float64) -> Float64:
    """The bad part, NaN without units."""
    sli = np.full(len(total), np.nan)
    np.divide(good, total, out=sli, where=total > 0)
    return np.asarray(1 - np.clip(sli, 0.0, 1.0), np.float64)


def budget_remaining(good: Float64, total: Float64, target: float, slices: float | None) -> Float64:
    """`rules.budget_remaining` of columns; NaN without data."""
    whole = total if slices is None else np.maximum(total, slices)
    remaining = np.full(len(total), np.nan)
    np.divide(_bad(good, total) * total, whole * (1 - target), out=remaining, where=total > 0)
    return np.asarray(1 - remaining, np.float64)


def burn_rate(good: Float64, total: Float64, target: float) -> Float64:
    """`rules.burn_rate` of columns; NaN without data."""
    return np.asarray(_bad(good, total) / (1 - target), np.float64)


def burning(totals: Totals, at: Int64, alert: BurnAlert, target: float, minimum: float) -> tuple[Flags, Float64]:
    """`rules.burning` after each slice of `at`, and the burn rate over the long window."""
    long, short = totals.last(alert.long, at), totals.last(alert.short, at)
    slow, fast = burn_rate(*long, target), burn_rate(*short, target)
    with np.errstate(invalid="ignore"):
        return (slow >= alert.rate) & (fast >= alert.rate) & (long[1] >= minimum), slow


def alerted(grid: Grid, paging: Flags, ticketing: Flags, rate: Float64, hold: int) -> list[WhatIfAlert]:
    """The stretches in which a rule held; calm of fewer than `hold` slices does not end one."""
    places = np.flatnonzero(paging | ticketing)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > hold)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [len(places) - 1]])]
    found = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        ends = last + hold < grid.count
        page = bool(paging[first : last + 1].any())
        found.append(
            WhatIfAlert(
                severity=AlertSeverity.PAGE if page else AlertSeverity.TICKET,
                started_at=moment(int(grid.ends[first])),
                ended_at=moment(int(grid.ends[last])) + timedelta(microseconds=grid.step) if ends else None,
                burn_rate=float(np.nanmax(rate[first : last + 1])),
            )
        )
    return found


def _curve(grid: Grid, remaining: Float64, rate: Float64) -> list[BudgetMoment]:
    places = np.unique(np.linspace(0, grid.count - 1, min(CURVE, grid.count)).astype(np.int64))
    return [
        BudgetMoment(time=moment(at), budget_remaining=_known(left), burn_rate=_known(burned))
        for at, left, burned in zip(
            grid.ends[places].tolist(), remaining[places].tolist(), rate[places].tolist(), strict=True
        )
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _unmeasured(each: Unmeasured) -> WhatIfObjective:
    return WhatIfObjective(
        slo=each.slo.name,
        objective=each.index,
        target=each.slo.objectives[each.index].fraction,
        good=0.0,
        total=0.0,
        sli=None,
        budget_burned=None,
        budget_lowest=None,
        exhausted_at=None,
        pages=0,
        tickets=0,
        alerts=[],
        curve=[],
        missing=each.reason,
    )
