"""What an SLO needs measured, and the measuring: good and total units of each slice, and the series that a detector
watches. Pure, CPU-bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

import numpy as np
import orjson

from plumbline_analysis.detection import univariate
from plumbline_analysis.objectives import rules
from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.slices import Float64, Grid
from plumbline_common.schemas import BudgetingMethod, MetricRef, Objective, SignalQuery, Slo

MINIMUM_SHARE = 0.1
"""A departure smaller than this part of the objective's threshold is nobody's concern."""
ERROR_RATIO = "error_ratio"


def queries(slo: Slo) -> dict[str, SignalQuery]:
    """The queries of an SLO by their role: `value`, or `good` or `bad`, and `total`."""
    indicator = slo.indicator
    found: dict[str, MetricRef | None] = {"value": indicator.threshold_metric}
    if indicator.ratio_metric is not None:
        ratio = indicator.ratio_metric
        found = {"good": ratio.good, "bad": ratio.bad, "total": ratio.total}
    return {role: metric.metric_source.spec for role, metric in found.items() if metric is not None}


def subject(slo: Slo) -> SignalQuery:
    """The query that names the indicator: its threshold metric, or what a ratio counts as good or bad."""
    named = queries(slo)
    return named.get("value") or named.get("bad") or named["good"]


def aggregation(slo: Slo) -> str:
    """How the indicator's values come about: the query's aggregation, or the share of bad events."""
    return ERROR_RATIO if slo.indicator.ratio_metric is not None else subject(slo).aggregation


def indicator_identity(requirement: UUID, slo: Slo) -> bytes:
    """A hash of the requirement, the SLO's name and what it measures: another query is another signal."""
    whole = ["indicator", str(requirement), slo.name, slo.indicator.model_dump(mode="json")]
    return blake2b(orjson.dumps(whole), digest_size=16).digest()


def definition(slo: Slo, objective: Objective, step_seconds: int) -> bytes:
    """A hash of all that decides which units are counted; the target and the window are not among it."""
    counted: list[object] = [
        slo.indicator.model_dump(mode="json"),
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
        return rules.seconds(objective.time_slice_window)
    return step_seconds


def _share(slo: Slo, objective: Objective) -> float | None:
    """The part of a slice that must be good; None where a slice counts by its good part."""
    return None if slo.budgeting_method is BudgetingMethod.RATIO_TIMESLICES else rules.slice_share(objective)


def counts_events(slo: Slo) -> bool:
    """Whether the units are events; otherwise they are slices of time."""
    return slo.indicator.ratio_metric is not None and slo.budgeting_method is BudgetingMethod.OCCURRENCES


def detector_config(slo: Slo) -> univariate.Config:
    """Only what can break the objective is an anomaly: the direction is the objective's, and so is the scale."""
    if slo.indicator.ratio_metric is not None:
        budget = min(1 - objective.target for objective in slo.objectives)
        return univariate.Config(direction="up", min_absolute=budget)
    thresholds = [objective.value for objective in slo.objectives if objective.value is not None]
    upward = slo.objectives[0].op in ("lte", "lt")
    return univariate.Config(
        direction="up" if upward else "down",
        min_absolute=MINIMUM_SHARE * min(map(abs, thresholds)),
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
    """What to measure of one SLO: each objective's grid and the indicator's, and the signals that each role means."""

    slo: Slo
    grids: Sequence[Grid]
    watched: Grid
    step: int
    """The length of the slices in which a threshold is sampled, in microseconds."""
    signals: Mapping[str, Sequence[SignalInfo]]
    points: Points
    least: int
    """Fewer observations make neither a quantile nor a ratio that a detector could judge."""


def measure(asked: Request) -> Measured:
    """Measure one SLO. O(points + slices)."""
    parts = {role: asked.points.of(signals) for role, signals in asked.signals.items()}
    named = queries(asked.slo)
    units = []
    for objective, grid in zip(asked.slo.objectives, asked.grids, strict=True):
        if asked.slo.indicator.ratio_metric is not None:
            units.append(_ratio_units(asked.slo, objective, parts, grid))
        else:
            units.append(_threshold_units(asked, objective, parts["value"], named["value"], grid))
    return Measured(units, _watched(asked, parts, named))


def _events(slo: Slo, parts: Mapping[str, Points], grid: Grid) -> tuple[Float64, Float64]:
    ratio = slo.indicator.ratio_metric
    counter = ratio is not None and ratio.counter
    counted = {
        role: derived.counts(parts[role], grid, query.le, counter=counter) for role, query in queries(slo).items()
    }
    numerator = counted["bad"] if "bad" in counted else counted["good"]
    return rules.events(numerator, counted["total"], numerator_is_bad="bad" in counted)


def _ratio_units(slo: Slo, objective: Objective, parts: Mapping[str, Points], grid: Grid) -> tuple[Float64, Float64]:
    good, total = _events(slo, parts, grid)
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
    share = _share(asked.slo, objective)
    if asked.slo.budgeting_method.of_time and (share is None or objective.time_slice_target is not None):
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


def _watched(asked: Request, parts: Mapping[str, Points], named: Mapping[str, SignalQuery]) -> Float64:
    if "value" in named:
        query = named["value"]
        return derived.values(parts["value"], asked.watched, query.aggregation, query.le, least=asked.least)
    good, total = _events(asked.slo, parts, asked.watched)
    ratio = np.full(len(total), np.nan)
    np.divide(total - good, total, out=ratio, where=total >= asked.least)
    return np.asarray(np.clip(ratio, 0.0, 1.0), np.float64)
