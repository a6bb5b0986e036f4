"""OTLP/HTTP metrics, JSON encoding: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.

Member names are lowerCamelCase, 64-bit integers are decimal strings (numbers are taken too), enums are numbers,
unknown members are ignored. A member of a wrong type makes the whole request undecodable, as in protobuf.
"""

import math
from typing import Any

import numpy as np
import orjson

from plumbline_analysis.sources import batch, otlp
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Temporality, Undecodable, Window
from plumbline_analysis.sources.json_members import (
    array,
    as_integer,
    as_number,
    integer,
    member,
    number,
    objects,
    pairs,
)

_SHAPES = {
    "gauge": Kind.GAUGE,
    "sum": Kind.SUM,
    "histogram": Kind.HISTOGRAM,
    "exponentialHistogram": Kind.EXPONENTIAL_HISTOGRAM,
}


def decode(body: bytes, window: Window) -> Batch:
    """The points of an ExportMetricsServiceRequest. Raises as `otlp.decode` does, with a JSON pointer."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable("the body must be a JSON object", pointer="")
    found, budget = Batch(), otlp.Budget()
    for at, of_resource in objects(document, "resourceMetrics", ""):
        resource_at, described = member(of_resource, "resource", at, dict)
        resource = batch.relevant(pairs(described, "attributes", resource_at))
        for at_scope, of_scope in objects(of_resource, "scopeMetrics", at):
            scope_at, scope = member(of_scope, "scope", at_scope, dict)
            name = member(scope, "name", scope_at, str)[1]
            for at_metric, metric in objects(of_scope, "metrics", at_scope):
                _metric(found, budget, window, resource, name, metric, at_metric)
    return found


def _metric(
    found: Batch,
    budget: otlp.Budget,
    window: Window,
    resource: tuple[tuple[str, str], ...],
    scope: str,
    metric: dict[str, Any],
    at: str,
) -> None:
    name = member(metric, "name", at, str)[1]
    shape = next((each for each in (*_SHAPES, "summary") if metric.get(each) is not None), None)
    if shape is None:
        return
    at_data, data = member(metric, shape, at, dict)
    located = objects(data, "dataPoints", at_data)
    budget.spend(len(located))
    if shape == "summary":
        found.reject(len(located), "summaries are not supported: send histograms", name)
        return
    kind = _SHAPES[shape]
    temporality = integer(data, "aggregationTemporality", at_data, 0, 2)
    head = Head(
        source=otlp.SOURCE,
        metric=name,
        unit=member(metric, "unit", at, str)[1],
        kind=kind,
        temporality=Temporality.NONE if kind is Kind.GAUGE else otlp.TEMPORALITIES.get(temporality, Temporality.NONE),
        monotonic=kind not in (Kind.GAUGE, Kind.SUM)
        or (kind is Kind.SUM and member(data, "isMonotonic", at_data, bool)[1]),
        scope=scope,
        resource=resource,
    )
    if (fault := batch.head_fault(head)) is not None:
        found.reject(len(located), fault, name)
        return
    points = [(p_at, p) for p_at, p in located if not integer(p, "flags", p_at, 0, 2**32 - 1) & 1]
    values: Any
    if kind in (Kind.GAUGE, Kind.SUM):
        values = np.array([_number(point, at) for at, point in points], np.float64)
    else:
        read = _histogram if kind is Kind.HISTOGRAM else _exponential
        points, values = otlp.sound(found, points, (read(point, at) for at, point in points), name)
    batch.add(
        found,
        window,
        head,
        dict,
        [tuple(sorted(dict(pairs(point, "attributes", at)).items())) for at, point in points],
        np.array([integer(point, "startTimeUnixNano", at, 0, 2**64 - 1) for at, point in points], np.uint64),
        np.array([integer(point, "timeUnixNano", at, 0, 2**64 - 1) for at, point in points], np.uint64),
        values,
    )


def _number(point: dict[str, Any], at: str) -> float:
    if point.get("asInt") is not None:
        return float(integer(point, "asInt", at, -(2**63), 2**63 - 1))
    return number(point, "asDouble", at)


def _histogram(point: dict[str, Any], at: str) -> Histogram:
    count = integer(point, "count", at, 0, 2**64 - 1)
    return Histogram(
        count=count,
        sum=number(point, "sum", at),
        min=number(point, "min", at),
        max=number(point, "max", at),
        layout=otlp.explicit_layout(
            tuple(as_number(bound, f"{at}/explicitBounds") for bound in array(point, "explicitBounds", at))
        ),
        counts=_counts(point, at) or (count,),
    )


def _exponential(point: dict[str, Any], at: str) -> Histogram:
    positive_at, positive = member(point, "positive", at, dict)
    negative_at, negative = member(point, "negative", at, dict)
    threshold = number(point, "zeroThreshold", at)
    return Histogram(
        count=integer(point, "count", at, 0, 2**64 - 1),
        sum=number(point, "sum", at),
        min=number(point, "min", at),
        max=number(point, "max", at),
        layout=otlp.exponential_layout(
            integer(point, "scale", at, -(2**31), 2**31 - 1), 0.0 if math.isnan(threshold) else threshold
        ),
        counts=_counts(positive, positive_at),
        offset=integer(positive, "offset", positive_at, -(2**31), 2**31 - 1),
        zero_count=integer(point, "zeroCount", at, 0, 2**64 - 1),
        negative_offset=integer(negative, "offset", negative_at, -(2**31), 2**31 - 1),
        negative_counts=_counts(negative, negative_at),
    )


def _counts(parent: dict[str, Any], at: str) -> tuple[int, ...]:
    return tuple(as_integer(count, f"{at}/bucketCounts", 0, 2**64 - 1) for count in array(parent, "bucketCounts", at))
