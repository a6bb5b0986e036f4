"""What a series of Prometheus is in OpenTelemetry's terms: from its labels, its name, and its metadata where given.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/: `job` is `service.name`,
`instance` is `service.instance.id`, `otel_scope_name` the scope; names stay as they are. The buckets of a classic
histogram become signals of the kind `bucket` under the histogram's own name, which a reader puts together; its sum
and count are counters of their own. Without a type the name tells it: `_total`, `_sum` and `_count` end counters,
`_bucket` with `le` a bucket; all others are gauges.
"""

import math
from collections.abc import Iterable
from enum import IntEnum

from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Described, Head, Kind, Temporality, Unstorable

SOURCE = "prometheus"
NAME, JOB, INSTANCE, LE = "__name__", "job", "instance", "le"

_BUCKET = "_bucket"
_COUNTERS = ("_total", "_sum", "_count")
_OF_HISTOGRAMS = ("_sum", "_count")
_SUFFIXES = ("_total", _BUCKET, "_sum", "_created")
_UNITS = {
    "days": "d", "hours": "h", "minutes": "min", "seconds": "s", "milliseconds": "ms", "microseconds": "us",
    "nanoseconds": "ns", "bytes": "By", "kibibytes": "KiBy", "mebibytes": "MiBy", "gibibytes": "GiBy",
    "kilobytes": "kBy", "megabytes": "MBy", "gigabytes": "GBy", "meters": "m", "grams": "g", "celsius": "Cel",
    "hertz": "Hz", "volts": "V", "amperes": "A", "joules": "J", "watts": "W", "percent": "%", "ratio": "1",
}  # fmt: skip
"""The words of OpenMetrics in UCUM's notation."""


class MetricType(IntEnum):
    """As metadata of remote-write 2.0 has it."""

    UNSPECIFIED = 0
    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3
    GAUGE_HISTOGRAM = 4
    SUMMARY = 5
    INFO = 6
    STATESET = 7


def describe(
    labels: Iterable[tuple[str, str]], kind: Kind | None = None, type: int = MetricType.UNSPECIFIED, unit: str = ""
) -> Described:
    """What a series is. `kind` is that of native histograms; None of samples. Raises `Unstorable`.

    An empty label is none, as in Prometheus.
    """
    given = [(name, value) for name, value in labels if value]
    attributes = dict(given)
    if len(attributes) < len(given):
        raise Unstorable("a label is given twice")
    metric = attributes.pop(NAME, "")
    instance, job = attributes.pop(INSTANCE, ""), attributes.pop(JOB, "")
    scope = attributes.pop("otel_scope_name", "")
    attributes.pop("otel_scope_version", None)
    if kind is None:
        kind = _kind(metric, attributes, type)
    if kind is Kind.BUCKET:
        attributes[LE] = bound_text(float(attributes[LE]))
    resource = (("service.instance.id", instance), (batch.SERVICE, job))
    head = Head(
        source=SOURCE,
        metric=metric.removesuffix(_BUCKET) if kind is Kind.BUCKET else metric,
        unit=_unit(metric, unit),
        kind=kind,
        temporality=Temporality.NONE if kind is Kind.GAUGE else Temporality.CUMULATIVE,
        monotonic=kind is not Kind.GAUGE,
        scope=scope,
        resource=tuple(pair for pair in resource if pair[1]),
    )
    return head, attributes


def _kind(metric: str, attributes: dict[str, str], type: int) -> Kind:
    match type:
        case MetricType.COUNTER:
            return Kind.SUM
        case MetricType.GAUGE | MetricType.GAUGE_HISTOGRAM | MetricType.INFO | MetricType.STATESET:
            return Kind.GAUGE
        case MetricType.HISTOGRAM | MetricType.SUMMARY:
            counters: tuple[str, ...] = _OF_HISTOGRAMS
        case _:
            counters = _COUNTERS
    if metric.endswith(_BUCKET) and _is_bound(attributes.get(LE)):
        return Kind.BUCKET
    return Kind.SUM if metric.endswith(counters) else Kind.GAUGE


def _is_bound(le: str | None) -> bool:
    try:
        return le is not None and not math.isnan(float(le))
    except ValueError:
        return False


def bound_text(bound: float) -> str:
    """A bound in OpenMetrics' canonical notation, for senders write `1` and `1.0`."""
    return "+Inf" if bound == math.inf else repr(bound)


def _unit(metric: str, declared: str) -> str:
    if declared:
        return _UNITS.get(declared, declared)
    for suffix in _SUFFIXES:
        metric = metric.removesuffix(suffix)
    return _UNITS.get(metric.rpartition("_")[2], "")
