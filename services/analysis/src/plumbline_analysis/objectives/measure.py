"""What an SLO needs measured, and the measuring: good and total units of each slice, and the series that a detector
watches. Pure, CPU-bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

import numpy as np
import orjson

from plumbline_analysis.detection import alarm
from plumbline_analysis.objectives import rules
from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.slices import Float64, Grid
from plumbline_common.schemas import (
    BudgetingMethod,
    ForeignSource,
    Indicator,
    Objective,
    SignalQuery,
    Slo,
    seconds,
)

MINIMUM_SHARE = 0.1
"""A departure smaller than this part of the objective's threshold is nobody's concern,"""
MINIMUM_RELATIVE = 0.3
"""nor one smaller than this part of what was expected."""
ONSET = 2
"""Slices are seconds: a single one is nobody's concern either."""
ERROR_RATIO = "error_ratio"


@dataclass(frozen=True)
class Part:
    """The objectives of an SLO that share an indicator: all of them, or one of a composite SLO."""

    slo: Slo
    """With this indicator and these objectives alone."""
    first: int
    """The place in the SLO of the first of them."""
    indicator: Indicator
    queries: dict[str, SignalQuery]
    """By their role: `value`; or `good` or `bad`, and `total`; or `raw`."""

    @property
    def is_ratio(self) -> bool:
        return self.indicator.ratio_metric is not None


@dataclass(frozen=True)
class Unmeasured:
    """An objective whose indicator nothing here can read."""

    slo: Slo
    index: int
    reason: str


def parts(slo: Slo) -> tuple[list[Part], list[Unmeasured]]:
    """What of an SLO is measured, and what is not."""
    composite = any(objective.composite for objective in slo.objectives)
    found: list[Part] = []
    lacking: list[Unmeasured] = []
    for index, objective in enumerate(slo.objectives):
        if not composite and index:
            lacking += [Unmeasured(slo, index, lacking[0].reason)] if lacking else []
            continue
        indicator = slo.indicator_of(objective)
        reference = objective.indicator_ref or slo.indicator_ref
        if indicator is None:
            lacking.append(Unmeasured(slo, index, f"there is no SLI {reference}"))
        elif (queries := indicator.queries) is None:
            lacking.append(Unmeasured(slo, index, f"it is read from {_elsewhere(indicator)}, which is not measured"))
        else:
            own = slo.model_copy(update={"objectives": [objective]}) if composite else slo
            found.append(Part(own, index, indicator, queries))
    return found, lacking


def _elsewhere(indicator: Indicator) -> str:
    sources = [metric.metric_source for metric in indicator.metrics.values()]
    named = [each.type or each.metric_source_ref for each in sources if isinstance(each, ForeignSource)]
    return str(named[0])


def subject(part: Part) -> SignalQuery:
    """The query that names the indicator: its threshold metric, or what a ratio counts as good or bad."""
    named = part.queries
    return named.get("value") or named.get("bad") or named.get("good") or named["raw"]


def service(part: Part, owner: str | None) -> str | None:
    """The `service.name` that the indicator is about: the query's, or else the requirement's."""
    return subject(part).attributes.get("service.name") or owner


def aggregation(part: Part) -> str:
    """How the indicator's values come about: the query's aggregation, or the share of bad events."""
    return ERROR_RATIO if part.is_ratio else subject(part).aggregation


def _measured(indicator: Indicator) -> object:
    return indicator.model_dump(mode="json", include={"threshold_metric", "ratio_metric"})


def indicator_identity(requirement: UUID, part: Part) -> bytes:
    """A hash of the requirement, the SLO's name and what it measures: another query is another signal."""
    whole = ["indicator", str(requirement), part.slo.name, _measured(part.indicator)]
    if part.first:
        whole.append(part.first)  # a composite may have one indicator twice
    return blake2b(orjson.dumps(whole), digest_size=16).digest()


def definition(part: Part, objective: Objective, step_seconds: int) -> bytes:
    """A hash of all that decides which units are counted; the target and the window are not among it."""
    slo = part.slo
    counted: list[object] = [
        _measured(part.indicator),
        slo.budgeting_method,
        objective.op,
        objective.value,
    ]
    if slo.budgeting_method.of_time:
        counted += [objective.time_slice_window, _share(slo, objective)]
    else:
        counted.append(step_seconds)
    return blake2b(orjson.dumps(counted), digest_size=16).digest()


def slice_seconds(slo: Slo, objective: Objective, step_seconds: int) -> int:
    """How long the slices are in which this objective's units are counted."""
    if slo.budgeting_method.of_time and objective.time_slice_window is not None:
        return seconds(objective.time_slice_window)
    return step_seconds


def _share(slo: Slo, objective: Objective) -> float | None:
    """The part of a slice that must be good; None where a slice counts by its good part."""
    return None if slo.budgeting_method is BudgetingMethod.RATIO_TIMESLICES else rules.slice_share(objective)


def counts_events(part: Part) -> bool:
    """Whether the units are events; otherwise they are slices of time."""
    return "total" in part.queries and part.slo.budgeting_method is BudgetingMethod.OCCURRENCES


def alarm_config(part: Part) -> alarm.Config:
    """Only what can break the objective is an anomaly: the direction is the objective's, and so is the scale."""
    slo = part.slo
    if part.is_ratio:
        budget = min(1 - objective.fraction for objective in slo.objectives)
        return alarm.Config("up", min_absolute=budget, min_relative=MINIMUM_RELATIVE, onset_points=ONSET)
    thresholds = [objective.value for objective in slo.objectives if objective.value is not None]
    upward = slo.objectives[0].op in ("lte", "lt")
    return alarm.Config(
        "up" if upward else "down",
        min_absolute=MINIMUM_SHARE * min(map(abs, thresholds)),
        min_relative=MINIMUM_RELATIVE,
        onset_points=ONSET,
        limit=min(thresholds) if upward else max(thresholds),
    )


@dataclass(frozen=True)
class Measured:
    """`units[i]` are the good and total units of objective i in the slices of its grid; `watched` the values of the
    indicator in the slices of its own."""

    units: list[tuple[Float64, Float64]]
    watched: Float64


@dataclass(frozen=True)
class Request:
    """What to measure of a part: each objective's grid and the indicator's, the signals that each role means."""

    part: Part
    grids: Sequence[Grid]
    watched: Grid
    step: int
    """The length of the slices in which a threshold is sampled, in microseconds."""
    signals: Mapping[str, Sequence[SignalInfo]]
    points: Points
    least: int
    """Fewer observations make neither a quantile nor a ratio that a detector could judge."""


def measure(asked: Request) -> Measured:
    """Measure one part of an SLO. O(points + slices)."""
    points = {role: asked.points.of(signals) for role, signals in asked.signals.items()}
    units = []
    for objective, grid in zip(asked.part.slo.objectives, asked.grids, strict=True):
        if asked.part.is_ratio:
            units.append(_ratio_units(asked, objective, points, grid))
        else:
            units.append(_threshold_units(asked, objective, points["value"], asked.part.queries["value"], grid))
    return Measured(units, _watched(asked, points))


def _events(asked: Request, points: Mapping[str, Points], grid: Grid) -> tuple[Float64, Float64]:
    ratio = asked.part.indicator.ratio_metric
    if ratio is not None and ratio.raw_type is not None:
        query = asked.part.queries["raw"]
        values = derived.values(points["raw"], grid, query.aggregation, query.le, least=asked.least)
        return rules.ready_made(values, failures=ratio.raw_type == "failure")
    counter = ratio is not None and ratio.counter
    counted = {
        role: derived.counts(points[role], grid, query.le, counter=counter)
        for role, query in asked.part.queries.items()
    }
    numerator = counted["bad"] if "bad" in counted else counted["good"]
    return rules.events(numerator, counted["total"], numerator_is_bad="bad" in counted)


def _ratio_units(
    asked: Request, objective: Objective, points: Mapping[str, Points], grid: Grid
) -> tuple[Float64, Float64]:
    slo = asked.part.slo
    good, total = _events(asked, points, grid)
    if slo.budgeting_method.of_time:
        return rules.time_slices(good, total, _share(slo, objective))
    return good, total


def _threshold_units(
    asked: Request, objective: Objective, points: Points, query: SignalQuery, grid: Grid
) -> tuple[Float64, Float64]:
    """Each slice is a unit, good where its value satisfies the objective. A time slice with a `timeSliceTarget` is
    good where that share of the shorter slices inside it is; by RatioTimeslices it counts by their share."""
    if objective.op is None or objective.value is None:
        raise ValueError("a threshold metric has an operator and a value")
    sampled, parts = grid, 1
    share = _share(asked.part.slo, objective)
    if asked.part.slo.budgeting_method.of_time and (share is None or objective.time_slice_target is not None):
        parts = max(1, grid.step // asked.step)
        sampled = Grid(grid.start, grid.step // parts, grid.count * parts)
    values = derived.values(points, sampled, query.aggregation, query.le, least=asked.least)
    good = rules.satisfies(values, objective.op, objective.value)
    total = (~np.isnan(good)).astype(np.float64)
    good = np.nan_to_num(good, nan=0.0)
    if sampled is grid:
        return good, total
    shape = (grid.count, parts)
    return rules.time_slices(good.reshape(shape).sum(axis=1), total.reshape(shape).sum(axis=1), share)


def _watched(asked: Request, points: Mapping[str, Points]) -> Float64:
    if (query := asked.part.queries.get("value")) is not None:
        return derived.values(points["value"], asked.watched, query.aggregation, query.le, least=asked.least)
    good, total = _events(asked, points, asked.watched)
    ratio = np.full(len(total), np.nan)
    np.divide(total - good, total, out=ratio, where=total >= (1 if "raw" in asked.part.queries else asked.least))
    return np.asarray(np.clip(ratio, 0.0, 1.0), np.float64)
