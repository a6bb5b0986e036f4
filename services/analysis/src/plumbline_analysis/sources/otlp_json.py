"""OTLP/HTTP metrics, JSON encoding: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.

Member names are lowerCamelCase, 64-bit integers are decimal strings (numbers are taken too), enums are numbers,
unknown members are ignored. A member of a wrong type makes the whole request undecodable, as in protobuf.
"""

import math
from typing import Any, TypeVar

import numpy as np
import orjson

from plumbline_analysis.sources import batch, otlp
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Temporality, Undecodable, Window
from plumbline_common.errors import TooLarge

_SHAPES = {
    "gauge": Kind.GAUGE,
    "sum": Kind.SUM,
    "histogram": Kind.HISTOGRAM,
    "exponentialHistogram": Kind.EXPONENTIAL_HISTOGRAM,
}
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DEPTH = 16
T = TypeVar("T")


def decode(body: bytes, window: Window) -> Batch:
    """The points of an ExportMetricsServiceRequest. Raises as `otlp.decode` does, with a JSON pointer."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable("the body must be a JSON object", pointer="")
    found, budget = Batch(), otlp.Budget()
    for at, of_resource in _objects(document, "resourceMetrics", ""):
        resource_at, described = _member(of_resource, "resource", at, dict)
        resource = batch.relevant(_pairs(described, "attributes", resource_at))
        for at_scope, of_scope in _objects(of_resource, "scopeMetrics", at):
            scope_at, scope = _member(of_scope, "scope", at_scope, dict)
            name = _member(scope, "name", scope_at, str)[1]
            for at_metric, metric in _objects(of_scope, "metrics", at_scope):
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
    name = _member(metric, "name", at, str)[1]
    shape = next((each for each in (*_SHAPES, "summary") if metric.get(each) is not None), None)
    if shape is None:
        return
    at_data, data = _member(metric, shape, at, dict)
    located = _objects(data, "dataPoints", at_data)
    budget.spend(len(located))
    if shape == "summary":
        found.reject(len(located), "summaries are not supported: send histograms", name)
        return
    kind = _SHAPES[shape]
    temporality = _integer(data, "aggregationTemporality", at_data, 0, 2)
    head = Head(
        source=otlp.SOURCE,
        metric=name,
        unit=_member(metric, "unit", at, str)[1],
        kind=kind,
        temporality=Temporality.NONE if kind is Kind.GAUGE else otlp.TEMPORALITIES.get(temporality, Temporality.NONE),
        monotonic=kind not in (Kind.GAUGE, Kind.SUM)
        or (kind is Kind.SUM and _member(data, "isMonotonic", at_data, bool)[1]),
        scope=scope,
        resource=resource,
    )
    if (fault := batch.head_fault(head)) is not None:
        found.reject(len(located), fault, name)
        return
    points = [(p_at, p) for p_at, p in located if not _integer(p, "flags", p_at, 0, 2**32 - 1) & 1]
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
        [tuple(sorted(dict(_pairs(point, "attributes", at)).items())) for at, point in points],
        np.array([_integer(point, "startTimeUnixNano", at, 0, 2**64 - 1) for at, point in points], np.uint64),
        np.array([_integer(point, "timeUnixNano", at, 0, 2**64 - 1) for at, point in points], np.uint64),
        values,
    )


def _number(point: dict[str, Any], at: str) -> float:
    if point.get("asInt") is not None:
        return float(_integer(point, "asInt", at, -(2**63), 2**63 - 1))
    return _float(point, "asDouble", at)


def _histogram(point: dict[str, Any], at: str) -> Histogram:
    count = _integer(point, "count", at, 0, 2**64 - 1)
    return Histogram(
        count=count,
        sum=_float(point, "sum", at),
        min=_float(point, "min", at),
        max=_float(point, "max", at),
        layout=otlp.explicit_layout(
            tuple(_as_float(bound, f"{at}/explicitBounds") for bound in _list(point, "explicitBounds", at))
        ),
        counts=_counts(point, at) or (count,),
    )


def _exponential(point: dict[str, Any], at: str) -> Histogram:
    positive_at, positive = _member(point, "positive", at, dict)
    negative_at, negative = _member(point, "negative", at, dict)
    threshold = _float(point, "zeroThreshold", at)
    return Histogram(
        count=_integer(point, "count", at, 0, 2**64 - 1),
        sum=_float(point, "sum", at),
        min=_float(point, "min", at),
        max=_float(point, "max", at),
        layout=otlp.exponential_layout(
            _integer(point, "scale", at, -(2**31), 2**31 - 1), 0.0 if math.isnan(threshold) else threshold
        ),
        counts=_counts(positive, positive_at),
        offset=_integer(positive, "offset", positive_at, -(2**31), 2**31 - 1),
        zero_count=_integer(point, "zeroCount", at, 0, 2**64 - 1),
        negative_offset=_integer(negative, "offset", negative_at, -(2**31), 2**31 - 1),
        negative_counts=_counts(negative, negative_at),
    )


# --- Members: absent and null are the default, as in protobuf ---------------------------------------------


def _wrong(at: str, expected: str) -> Undecodable:
    return Undecodable(f"expected {expected}", pointer=at)


def _member(parent: dict[str, Any], name: str, at: str, kind: type[T]) -> tuple[str, T]:
    value = parent.get(name)
    if value is None:
        value = kind()
    if not isinstance(value, kind):
        raise _wrong(f"{at}/{name}", {"dict": "an object", "str": "a string", "bool": "a boolean"}[kind.__name__])
    return f"{at}/{name}", value


def _list(parent: dict[str, Any], name: str, at: str) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(f"{at}/{name}", "an array")
    return value


def _objects(parent: dict[str, Any], name: str, at: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    if len(values := _list(parent, name, at)) > otlp.MAX_POINTS:
        raise TooLarge(f"an array holds more than {otlp.MAX_POINTS} objects: send smaller batches")
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise _wrong(f"{at}/{name}/{index}", "an object")
        found.append((f"{at}/{name}/{index}", value))
    return found


def _as_integer(value: Any, at: str, least: int, most: int) -> int:
    as_text = isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal()
    if as_text or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(at, f"an integer from {least} to {most}")
    return value


def _integer(parent: dict[str, Any], name: str, at: str, least: int, most: int) -> int:
    value = parent.get(name)
    return 0 if value is None else _as_integer(value, f"{at}/{name}", least, most)


def _as_float(value: Any, at: str) -> float:
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        try:
            return float(value) if len(value) <= 40 and value.isascii() else _fail(at)
        except ValueError:
            return _fail(at)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _fail(at)
    return float(value)


def _fail(at: str) -> float:
    raise _wrong(at, "a number")


def _float(parent: dict[str, Any], name: str, at: str) -> float:
    """NaN where absent."""
    value = parent.get(name)
    return math.nan if value is None else _as_float(value, f"{at}/{name}")


def _counts(parent: dict[str, Any], at: str) -> tuple[int, ...]:
    return tuple(
        _as_integer(count, f"{at}/bucketCounts", 0, 2**64 - 1) for count in _list(parent, "bucketCounts", at)
    )


def _pairs(parent: dict[str, Any], name: str, at: str, depth: int = 0) -> list[tuple[str, str]]:
    pairs = []
    for pair_at, pair in _objects(parent, name, at):
        value_at, value = _member(pair, "value", pair_at, dict)
        pairs.append((_member(pair, "key", pair_at, str)[1], otlp.text(_any(value, value_at, depth))))
    return pairs


def _any(value: dict[str, Any], at: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise Undecodable("the value is nested too deeply", pointer=at)
    if "stringValue" in value:
        return _member(value, "stringValue", at, str)[1]
    if "boolValue" in value:
        return _member(value, "boolValue", at, bool)[1]
    if "intValue" in value:
        return _integer(value, "intValue", at, -(2**63), 2**63 - 1)
    if "doubleValue" in value:
        return _float(value, "doubleValue", at)
    if "bytesValue" in value:
        return _member(value, "bytesValue", at, str)[1]
    if "arrayValue" in value:
        inner_at, inner = _member(value, "arrayValue", at, dict)
        return [_any(each, each_at, depth + 1) for each_at, each in _objects(inner, "values", inner_at)]
    if "kvlistValue" in value:
        inner_at, inner = _member(value, "kvlistValue", at, dict)
        return dict(_pairs(inner, "values", inner_at, depth + 1))
    return None
