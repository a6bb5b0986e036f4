"""SLOs as Prometheus rules: recorded error ratios and multi-window, multi-burn-rate alerts. Pure.

After Google's Site Reliability Workbook, chapter 5, as Sloth builds them. Each objective has the series
`slo:error:ratio_rate<window>` with the labels `openslo_service`, `openslo_slo` and `openslo_objective`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plumbline_common.openslo.objects import (
    SLI,
    SLO,
    DataSource,
    Indicator,
    Metric,
    MetricSource,
    Object,
    SliSpec,
    SloObjective,
)
from plumbline_common.schemas import seconds

_HOUR, _DAY = 3600, 86_400
_BAD = {"lte": ">", "lt": ">=", "gte": "<", "gt": "<="}
_TEMPLATE = re.compile(r"\{\{-?\s*\.window\s*-?\}\}|\$\{?__?(?:window|interval|rate_interval)\}?|\$\{?window\}?")
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_STRINGS = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'"
_SELECTOR = rf"(?:{_NAME})?\{{(?:{_STRINGS}|[^\"'{{}}])*\}}|{_NAME}"
_SUM = re.compile(rf"\s*(?P<call>sum)\s*(?P<by>(?:by|without)\s*\([^)]*\)\s*)?\(\s*(?P<selector>{_SELECTOR})\s*\)\s*")
_PLAIN = re.compile(rf"\s*(?P<selector>{_SELECTOR})\s*")


class NotForPrometheus(ValueError):
    """Why an SLO cannot become rules. `path` leads to the member."""

    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        super().__init__(reason)
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Burn:
    """An alert holds when the budget burns so fast over both windows. Windows in seconds."""

    budget: float
    """The part of the whole budget that is gone within `long` at that rate."""
    long: int
    short: int
    severity: str


BURNS = (
    Burn(0.02, _HOUR, 300, "page"),
    Burn(0.05, 6 * _HOUR, 1800, "page"),
    Burn(0.1, _DAY, 2 * _HOUR, "ticket"),
    Burn(0.1, 3 * _DAY, 6 * _HOUR, "ticket"),
)
"""The workbook's recommendation for 30 days: rates of 14.4, 6, 3 and 1. They follow the SLO's own window."""


def duration(length: int) -> str:
    """As Prometheus writes it, in the largest unit that fits: 300 is 5m."""
    for unit, size in (("w", 7 * _DAY), ("d", _DAY), ("h", _HOUR), ("m", 60)):
        if length % size == 0 and not (unit == "w" and length // size == 1):
            return f"{length // size}{unit}"
    return f"{length}s"


def rules(slo: SLO, objects: Iterable[Object] = ()) -> list[dict[str, Any]]:
    """The groups of a rule file for one SLO: a group of recordings and one of alerts for each objective.

    References lead to `objects`. Raises `NotForPrometheus` for a source that is not Prometheus' or has no query, and
    for an SLI that is not among them.
    """
    named: dict[tuple[str, str], Object] = {(thing.kind, thing.name): thing for thing in objects}
    window = seconds(slo.spec.time_window[0].duration)
    groups = []
    for place, objective in enumerate(slo.spec.objectives):
        path: tuple[str | int, ...] = ("spec", "objectives", place) if objective.composite else ("spec",)
        owner = objective if objective.composite else slo.spec
        sli = _meant(owner.indicator, owner.indicator_ref, named, path)
        labels = {
            "openslo_service": slo.spec.service,
            "openslo_slo": slo.name,
            "openslo_objective": objective.display_name or str(place),
        }
        place_of = None if owner.indicator is not None else (*path, "indicatorRef")
        error = _error(slo, objective, sli, named, place_of or (*path, "indicator", "spec"), inline=place_of is None)
        groups += _groups(slo, objective, labels, error, window, place)
    return groups


def _meant(
    indicator: Indicator | None,
    reference: str | None,
    named: Mapping[tuple[str, str], Object],
    path: tuple[str | int, ...],
) -> SliSpec:
    if indicator is not None:
        return indicator.spec
    found = named.get(("SLI", reference or ""))
    if not isinstance(found, SLI):
        raise NotForPrometheus((*path, "indicatorRef"), f"there is no SLI {reference} among these")
    return found.spec


# --- The error ratio over a window ----------------------------------------------------------------------


def _error(
    slo: SLO,
    objective: SloObjective,
    sli: SliSpec,
    named: Mapping[tuple[str, str], Object],
    path: tuple[str | int, ...],
    *,
    inline: bool,
) -> "_Error":
    def query(metric: Metric, *names: str) -> str:
        try:
            return _query(metric.metric_source, named, (*path, *names))
        except NotForPrometheus as error:
            raise error if inline else NotForPrometheus(path, error.reason) from None

    base: _Base
    if sli.threshold_metric is not None:
        assert objective.op is not None
        assert objective.value is not None
        base = _Threshold(query(sli.threshold_metric, "thresholdMetric"), _BAD[objective.op], objective.value)
    else:
        ratio = sli.ratio_metric
        assert ratio is not None
        counter = ratio.counter is not False
        if ratio.raw is not None:
            base = _Raw(query(ratio.raw, "ratioMetric", "raw"), ratio.raw_type == "failure")
        else:
            part, bad = (ratio.bad, True) if ratio.bad is not None else (ratio.good, False)
            assert part is not None
            assert ratio.total is not None
            side = "bad" if bad else "good"
            base = _Ratio(
                query(part, "ratioMetric", side), query(ratio.total, "ratioMetric", "total"), bad=bad, counter=counter
            )
    if slo.spec.budgeting_method == "Occurrences":
        return _Error(base, None, None)
    slices = objective.time_slice_window
    length = seconds(slices) if isinstance(slices, str) else round(60 * slices)
    allowed = 1 - (objective.time_slice_target or 0) if slo.spec.budgeting_method == "Timeslices" else None
    return _Error(base, length, allowed)


def _query(source: MetricSource, named: Mapping[tuple[str, str], Object], path: tuple[str | int, ...]) -> str:
    kind = source.type
    if kind is None:
        data_source = named.get(("DataSource", source.metric_source_ref or ""))
        kind = data_source.spec.type if isinstance(data_source, DataSource) else None
    at = (*path, "metricSource")
    if kind is None or kind.lower() not in ("prometheus", "mimir", "thanos", "cortex", "victoriametrics"):
        shown = kind or f"of the DataSource {source.metric_source_ref}, which is not among these"
        raise NotForPrometheus((*at, "type"), f"only sources of the type Prometheus become rules, not {shown}")
    found = source.spec.get("query") or source.spec.get("promql") or source.spec.get("expr")
    if not isinstance(found, str) or not found.strip():
        raise NotForPrometheus((*at, "spec", "query"), "is required: the PromQL")
    return found.strip()


@dataclass(frozen=True)
class _Threshold:
    """Each sample is good or bad."""

    query: str
    bad: str
    value: float

    def over(self, window: int) -> str:
        compared = f"({_filled(self.query, window)}) {self.bad} bool {self.value:.15g}"
        return f"avg_over_time(({compared})[{duration(window)}:])"


@dataclass(frozen=True)
class _Raw:
    """A ratio that was made elsewhere."""

    query: str
    failure: bool

    def over(self, window: int) -> str:
        filled = _filled(self.query, window)
        mean = f"({filled})" if filled != self.query else f"avg_over_time(({self.query})[{duration(window)}:])"
        return mean if self.failure else f"1 - {mean}"


@dataclass(frozen=True)
class _Ratio:
    part: str
    total: str
    bad: bool
    counter: bool

    def over(self, window: int) -> str:
        part, total = (_counted(query, window, self.counter) for query in (self.part, self.total))
        if self.bad and part.startswith("sum("):
            part = f"({part} or vector(0))"  # a service that never failed has no series of failures
        return f"{part}\n/\n{total}" if self.bad else f"1 - (\n{part}\n/\n{total}\n)"


_Base = _Threshold | _Raw | _Ratio


@dataclass(frozen=True)
class _Error:
    """The part of the events, or of the slices, that was bad."""

    base: _Base
    slices: int | None
    """Seconds; None where events are counted."""
    allowed: float | None
    """The error ratio up to which a slice is good; None where slices count by their ratio."""

    def over(self, window: int) -> str:
        if self.slices is None:
            return self.base.over(window)
        each = f"(\n{self.base.over(self.slices)}\n)"
        if self.allowed is not None:
            each = f"({each} > bool {self.allowed:.10g})"
        return f"avg_over_time({each}[{duration(window)}:{duration(self.slices)}])"


def _filled(query: str, window: int) -> str:
    return _TEMPLATE.sub(duration(window), query)


def _counted(query: str, window: int, counter: bool) -> str:
    """How much was counted over the window: by the query's own window, or the rate of a counter, or a sum."""
    filled = _filled(query, window)
    if filled != query:
        return f"({filled})"
    length = duration(window)
    if not counter:
        return f"sum(sum_over_time(({query})[{length}:]))"
    if found := _SUM.fullmatch(query):
        return f"{found['call']} {found['by'] or ''}(rate({found['selector']}[{length}]))".replace("sum (", "sum(")
    if found := _PLAIN.fullmatch(query):
        return f"sum(rate({found['selector']}[{length}]))"
    return f"sum(rate(({query})[{length}:]))"


# --- Groups ---------------------------------------------------------------------------------------------


def _groups(
    slo: SLO, objective: SloObjective, labels: dict[str, str], error: _Error, window: int, place: int
) -> list[dict[str, Any]]:
    target = objective.target if objective.target is not None else (objective.target_percent or 0) / 100
    id = f"{slo.spec.service}-{slo.name}-{place}"
    budget = f"{1 - target:.10g}"
    burns = [each for each in BURNS if each.long < window] or [Burn(0.5, window, max(window // 12, 60), "ticket")]
    lengths = sorted({length for each in burns for length in (each.long, each.short)})
    select = "{" + ", ".join(f"{name}={_quoted(value)}" for name, value in labels.items()) + "}"
    recorded = [{"record": _series(length), "expr": error.over(length), "labels": labels} for length in lengths]
    recorded.append(
        {
            "record": _series(window),
            "expr": f"avg_over_time({_series(lengths[0])}{select}[{duration(window)}])",
            "labels": labels,
        }
    )
    facts = [
        ("slo:objective:ratio", f"vector({target:.10g})"),
        ("slo:error_budget:ratio", f"vector({budget})"),
        ("slo:time_period:days", f"vector({window / _DAY:.10g})"),
        ("slo:current_burn_rate:ratio", f"{_series(lengths[0])}{select} / {budget}"),
        ("slo:period_burn_rate:ratio", f"{_series(window)}{select} / {budget}"),
        ("slo:period_error_budget_remaining:ratio", f"1 - {_series(window)}{select} / {budget}"),
    ]
    recorded += [{"record": name, "expr": expression, "labels": labels} for name, expression in facts]
    return [
        {"name": f"openslo-recordings-{id}", "rules": recorded},
        {"name": f"openslo-alerts-{id}", "rules": _alerts(slo, labels, select, burns, window, budget)},
    ]


def _alerts(
    slo: SLO, labels: dict[str, str], select: str, burns: Sequence[Burn], window: int, budget: str
) -> list[dict[str, Any]]:
    alerts = []
    for severity in ("page", "ticket"):
        held = [
            f"(\n  {_series(each.short)}{select} > ({_rate(each, window)} * {budget})\n  and"
            f"\n  {_series(each.long)}{select} > ({_rate(each, window)} * {budget})\n)"
            for each in burns
            if each.severity == severity
        ]
        if held:
            alerts.append(
                {
                    "alert": "SLOErrorBudgetBurn",
                    "expr": "\nor\n".join(held),
                    "labels": labels | {"severity": severity},
                    "annotations": {
                        "summary": f"{slo.spec.service}: {slo.metadata.display_name or slo.name} burns its budget",
                        "description": slo.spec.description
                        or f"At this rate the budget of {duration(window)} is gone before its time.",
                    },
                }
            )
    return alerts


def _rate(burn: Burn, window: int) -> str:
    return f"{burn.budget * window / burn.long:.10g}"


def _series(window: int) -> str:
    return f"slo:error:ratio_rate{duration(window)}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
