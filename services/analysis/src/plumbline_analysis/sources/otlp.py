"""OTLP/HTTP metrics, protobuf encoding: a request's body becomes a `Batch`. Pure and CPU-bound.

The specification: https://opentelemetry.io/docs/specs/otlp/ and the data model it names.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from plumbline_analysis.sources import batch, otlp_numbers, otlp_wire
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Layout, Temporality, Undecodable, Window
from plumbline_common.errors import TooLarge

SOURCE = "otlp"
MAX_POINTS = 100_000
MAX_METRICS = 50_000
TEMPORALITIES = {1: Temporality.DELTA, 2: Temporality.CUMULATIVE}
NAN = float("nan")


class Budget:
    """Bounds what one request may hold: some bytes of protobuf become hundreds of bytes of objects."""

    def __init__(self) -> None:
        self._points, self._metrics = MAX_POINTS, MAX_METRICS

    def spend(self, points: int) -> None:
        self._points -= points
        self._metrics -= 1
        if self._points < 0:
            raise TooLarge(f"the request holds more than {MAX_POINTS} points: send smaller batches")
        if self._metrics < 0:
            raise TooLarge(f"the request holds more than {MAX_METRICS} metrics: send smaller batches")


def decode(body: bytes, window: Window) -> Batch:
    """The points of an ExportMetricsServiceRequest.

    Raises `Undecodable` where the body is not one (nothing of it is taken then) and `TooLarge` where it holds too
    much. Single points that can't be stored are counted in the batch with the reason.
    """
    try:
        return _decode(otlp_wire.Request.FromString(body), window)
    except DecodeError as error:
        raise Undecodable(f"the body is not an OTLP metrics request: {error}") from None


def _decode(request: Any, window: Window) -> Batch:
    found, budget = Batch(), Budget()
    for of_resource in request.resource_metrics:
        resource = batch.relevant(pairs(Resource.FromString(of_resource.resource).attributes))
        for of_scope in of_resource.scope_metrics:
            scope = InstrumentationScope.FromString(of_scope.scope).name
            for metric in of_scope.metrics:
                _metric(found, budget, window, resource, scope, metric)
    return found


def _metric(
    found: Batch, budget: Budget, window: Window, resource: tuple[tuple[str, str], ...], scope: str, metric: Any
) -> None:
    shape = metric.WhichOneof("data")
    if shape is None:
        return
    data = getattr(metric, shape)
    budget.spend(len(data.data_points))
    if shape == "summary":
        found.reject(len(data.data_points), "summaries are not supported: send histograms", metric.name)
        return
    head = Head(
        source=SOURCE,
        metric=metric.name,
        unit=metric.unit,
        kind=Kind(shape),
        temporality=Temporality.NONE
        if shape == "gauge"
        else TEMPORALITIES.get(data.aggregation_temporality, Temporality.NONE),
        monotonic=shape in ("histogram", "exponential_histogram") or (shape == "sum" and data.is_monotonic),
        scope=scope,
        resource=resource,
    )
    if (fault := batch.head_fault(head)) is not None:
        found.reject(len(data.data_points), fault, metric.name)
        return
    if head.kind in (Kind.GAUGE, Kind.SUM):
        columns = otlp_numbers.read(list(data.data_points))
        batch.add(found, window, head, attributes, columns.keys, columns.start, columns.time, columns.value)
        return
    points = [point for point in data.data_points if not point.flags & otlp_numbers.NO_RECORDED_VALUE]
    read = _histogram if head.kind is Kind.HISTOGRAM else _exponential
    points, histograms = sound(found, points, map(read, points), metric.name)
    batch.add(
        found,
        window,
        head,
        attributes,
        [tuple(point.attributes) for point in points],
        np.array([point.start_time_unix_nano for point in points], np.uint64),
        np.array([point.time_unix_nano for point in points], np.uint64),
        histograms,
    )


def sound(
    found: Batch, points: Iterable[Any], histograms: Iterable[Histogram], metric: str
) -> tuple[list[Any], list[Histogram]]:
    """Those points whose histograms do not contradict themselves; the others are rejected."""
    kept, values = [], []
    for point, histogram in zip(points, histograms, strict=True):
        if (fault := batch.histogram_fault(histogram)) is not None:
            found.reject(1, fault, metric)
        else:
            kept.append(point)
            values.append(histogram)
    return kept, values


def _given(point: Any, name: str) -> float:
    return float(getattr(point, name)) if point.HasField(name) else NAN


# Few layouts serve all points: sharing them makes comparing them quick.
@lru_cache(maxsize=1024)
def explicit_layout(bounds: tuple[float, ...]) -> Layout:
    return Layout(bounds=bounds)


@lru_cache(maxsize=1024)
def exponential_layout(scale: int, zero_threshold: float) -> Layout:
    return Layout(scale=scale, zero_threshold=zero_threshold)


def _histogram(point: Any) -> Histogram:
    return Histogram(
        count=point.count,
        sum=_given(point, "sum"),
        min=_given(point, "min"),
        max=_given(point, "max"),
        layout=explicit_layout(tuple(point.explicit_bounds)),
        # A histogram without buckets is one with a single bucket.
        counts=tuple(point.bucket_counts) or (point.count,),
    )


def _exponential(point: Any) -> Histogram:
    return Histogram(
        count=point.count,
        sum=_given(point, "sum"),
        min=_given(point, "min"),
        max=_given(point, "max"),
        layout=exponential_layout(point.scale, point.zero_threshold),
        counts=tuple(point.positive.bucket_counts),
        offset=point.positive.offset,
        zero_count=point.zero_count,
        negative_offset=point.negative.offset,
        negative_counts=tuple(point.negative.bucket_counts),
    )


def attributes(key: Any) -> dict[str, str]:
    """The attributes of a point from its key."""
    try:
        encoded = otlp_numbers.key_attributes(key)
        if len(encoded) > batch.MAX_ATTRIBUTES:
            raise Undecodable(f"a point has more than {batch.MAX_ATTRIBUTES} attributes")
        return dict(pairs(map(KeyValue.FromString, encoded)))
    except DecodeError as error:
        raise Undecodable(f"the attributes of a point are damaged: {error}") from None


def pairs(keyvalues: Iterable[KeyValue]) -> list[tuple[str, str]]:
    """Attributes as text, as a query names them: `200`, `true`, `0.5`; lists and maps as JSON."""
    return [(pair.key, text(plain(pair.value))) for pair in keyvalues]


def text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list() | dict():
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        case _:
            return str(value)


def plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [plain(each) for each in value.array_value.values]
        case "kvlist_value":
            return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.hex()
        case kind:
            return getattr(value, kind)


def response(rejected: int, message: str) -> bytes:
    """ExportMetricsServiceResponse; its partial success is set only where points were left out."""
    reply = ExportMetricsServiceResponse()
    if rejected:
        reply.partial_success.rejected_data_points = rejected
        reply.partial_success.error_message = message
    return bytes(reply.SerializeToString())
