"""Between OpenSLO v1 objects and an SLO as a requirement has it: `schemas.Slo`, the same, flattened. Pure."""

import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from plumbline_common.openslo import writing
from plumbline_common.openslo.checking import Path
from plumbline_common.openslo.objects import API_VERSION, SLI, SLO
from plumbline_common.schemas import Indicator, MetricRef, MetricSource, Slo, seconds

_METADATA = ("name", "displayName", "labels", "annotations")


class NotForPlumbline(ValueError):
    """What Plumbline cannot keep of a valid object. `path` leads to the member of the object."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path, self.reason = path, reason


# --- From OpenSLO ---------------------------------------------------------------------------------------


def slo_of(thing: SLO) -> Slo:
    """The SLO as a requirement keeps it. Raises `NotForPlumbline`."""
    document = writing.document(thing)
    spec = document["spec"]
    flat = document["metadata"] | {name: value for name, value in spec.items() if name != "indicator"}
    if "indicator" in spec:
        flat["indicator"] = _flat(spec["indicator"])
    flat["timeWindow"] = [_window(window) for window in spec["timeWindow"]]
    flat["objectives"] = [
        objective | ({"indicator": _flat(objective["indicator"])} if "indicator" in objective else {})
        for objective in spec["objectives"]
    ]
    try:
        return Slo.model_validate(flat)
    except ValidationError as error:
        raise _refused(error, _path_of_slo) from None


def indicator_of(thing: SLI) -> Indicator:
    """What an SLI measures, with its name. Raises `NotForPlumbline`."""
    try:
        return Indicator.model_validate(_flat(writing.document(thing)))
    except ValidationError as error:
        raise _refused(error, _path_of_indicator) from None


def _flat(indicator: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = indicator["metadata"] | indicator["spec"]
    return flat


def _window(window: dict[str, Any]) -> dict[str, Any]:
    return {"isRolling": "calendar" not in window} | window


def _refused(error: ValidationError, path_of: Callable[[Path], Path]) -> NotForPlumbline:
    first = error.errors(include_url=False, include_input=False)[0]
    flat = tuple(part for part in first["loc"] if not str(part).startswith("["))
    return NotForPlumbline(path_of(flat), first["msg"].removeprefix("Value error, "))


def _path_of_slo(path: Path) -> Path:
    head, rest = path[:1], path[1:]
    if not head or head[0] in _METADATA:
        return ("metadata", *path) if head else ()
    if head[0] == "indicator":
        return ("spec", "indicator", *_path_of_indicator(rest))
    if head[0] == "objectives" and rest[1:2] == ("indicator",):
        return ("spec", "objectives", rest[0], "indicator", *_path_of_indicator(rest[2:]))
    return ("spec", *path)


def _path_of_indicator(path: Path) -> Path:
    if not path:
        return ()
    return ("metadata" if path[0] in _METADATA else "spec", *path)


# --- To OpenSLO -----------------------------------------------------------------------------------------


def document_of(slo: Slo, service: str | None) -> dict[str, Any]:
    """An OpenSLO v1 object of an SLO; `service` is the requirement's, of which it tells only what it may be called.

    Two SLOs have the same document where they say the same, however it was written.
    """
    spec: dict[str, Any] = {"description": slo.description, "service": slo.service or service_name(service)}
    spec |= _indicator(slo.indicator, slo.indicator_ref, slo.name)
    spec["timeWindow"] = [window.model_dump(mode="json") for window in slo.time_window]
    spec["budgetingMethod"] = slo.budgeting_method.value
    spec["objectives"] = [_objective(slo, place) for place in range(len(slo.objectives))]
    spec["alertPolicies"] = slo.alert_policies
    metadata = {
        "name": slo.name,
        "displayName": slo.display_name or None,
        "labels": slo.labels,
        "annotations": slo.annotations,
    }
    written = {"apiVersion": API_VERSION, "kind": "SLO", "metadata": metadata, "spec": spec}
    return writing.document(SLO.model_validate(written))


def service_name(service: str | None) -> str:
    """A name that OpenSLO allows for what people call a service; `unassigned` of none."""
    if service is None:
        return "unassigned"
    return re.sub(r"[^a-z0-9]+", "-", service.lower())[:63].strip("-") or "unnamed"


def _objective(slo: Slo, place: int) -> dict[str, Any]:
    objective = slo.objectives[place]
    written = objective.model_dump(mode="json", exclude={"indicator", "indicator_ref"})
    written["displayName"] = objective.display_name or None
    if slo.budgeting_method == "Timeslices" and objective.time_slice_target is None:
        written["timeSliceTarget"] = objective.fraction
    window = objective.time_slice_window
    if window is not None and window.endswith("s") and not _ours(slo.indicator_of(objective)):
        written["timeSliceWindow"] = seconds(window) / 60  # OpenSLO has no seconds, and counts minutes
    if objective.composite:
        written |= _indicator(objective.indicator, objective.indicator_ref, f"{slo.name}-{place + 1}")
    return written


def _ours(indicator: Indicator | None) -> bool:
    return indicator is not None and indicator.queries is not None


def _indicator(indicator: Indicator | None, reference: str | None, name: str) -> dict[str, Any]:
    if reference is not None or indicator is None:
        return {"indicatorRef": reference}
    metadata = indicator.model_dump(mode="json", include={"name", "display_name", "labels", "annotations"})
    spec: dict[str, Any] = {"description": indicator.description}
    if indicator.threshold_metric is not None:
        spec["thresholdMetric"] = _metric(indicator.threshold_metric)
    if indicator.ratio_metric is not None:
        ratio = indicator.ratio_metric
        # Of a ready-made ratio nothing is counted.
        counter = None if ratio.raw is not None and ratio.counter else ratio.counter
        spec["ratioMetric"] = {"counter": counter, "rawType": ratio.raw_type} | {
            role: _metric(metric) for role, metric in indicator.metrics.items()
        }
    return {"indicator": {"metadata": {"name": name} | metadata, "spec": spec}}


def _metric(metric: MetricRef) -> dict[str, Any]:
    source = metric.metric_source
    if isinstance(source, MetricSource):
        spec = source.spec.model_dump(mode="json", exclude_defaults=True)
        return {"metricSource": source.model_dump(mode="json", exclude={"spec"}) | {"spec": spec}}
    return metric.model_dump(mode="json")
