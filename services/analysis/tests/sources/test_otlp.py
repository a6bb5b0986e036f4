import gzip
import time
from typing import Any

import numpy as np
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
    Metric,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from plumbline_analysis.sources import otlp
from plumbline_analysis.sources.batch import Batch, Block, Head, Histogram, Kind, Temporality, Undecodable, Window
from plumbline_common.errors import TooLarge

NOW = 1_800_000_000 * 10**9
WINDOW = Window.around(NOW / 1e9, 48, 10)


def request(*metrics: Metric, service: str = "shop") -> bytes:
    whole = ExportMetricsServiceRequest()
    of_resource = whole.resource_metrics.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = service
    of_resource.resource.attributes.add(key="telemetry.sdk.version").value.string_value = "1.2.3"
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.name = "shop.meter"
    of_scope.metrics.extend(metrics)
    return whole.SerializeToString()


def gauge(*values: float, name: str = "queue.length", **point: Any) -> Metric:
    metric = Metric(name=name, unit="{item}")
    for value in values:
        metric.gauge.data_points.add(**({"time_unix_nano": NOW, "as_double": value} | point))
    return metric


def histogram(**point: Any) -> Metric:
    metric = Metric(name="latency", unit="s")
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    given = {
        "time_unix_nano": NOW,
        "start_time_unix_nano": NOW - 10**9,
        "count": 3,
        "sum": 1.5,
        "bucket_counts": [1, 2, 0],
        "explicit_bounds": [0.5, 1.0],
    }
    metric.histogram.data_points.add(**(given | point))
    return metric


def exponential(**point: Any) -> Metric:
    metric = Metric(name="latency", unit="s")
    metric.exponential_histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    given = {
        "time_unix_nano": NOW,
        "count": 6,
        "scale": 3,
        "zero_count": 1,
        "positive": {"offset": -2, "bucket_counts": [2, 1]},
        "negative": {"offset": 4, "bucket_counts": [2]},
    }
    metric.exponential_histogram.data_points.add(**(given | point))
    return metric


def decode(*metrics: Metric) -> Batch:
    return otlp.decode(request(*metrics), WINDOW)


def head_of(block: Block) -> Head:
    return block.describe(block.keys[0])[0]


def test_what_the_sdk_exports_is_decoded() -> None:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], Resource.create({"service.name": "shop"}), views=views)
    meter = provider.get_meter("shop.meter")
    meter.create_counter("orders", "{order}").add(3, {"payment": "card", "retried": True, "status": 200})
    meter.create_up_down_counter("open").add(-2)
    meter.create_histogram("latency", "s").record(0.02)
    meter.create_histogram("size", "By").record(4.0)
    meter.create_gauge("temperature", "Cel").set(21.5)
    exported = encode_metrics(reader.get_metrics_data())  # type: ignore[arg-type]
    provider.shutdown()

    found = otlp.decode(exported.SerializeToString(), Window.around(time.time(), 48, 10))

    assert found.rejected == 0
    blocks = {head_of(block).metric: block for block in found.blocks}
    orders, size, latency = blocks["orders"], blocks["size"], blocks["latency"]
    head, attributes = orders.describe(orders.keys[0])
    assert attributes == {"payment": "card", "retried": "true", "status": "200"}
    assert (head.kind, head.temporality, head.monotonic) == (
        Kind.SUM,
        Temporality.CUMULATIVE,
        True,
    )
    assert list(orders.values) == [3.0]
    assert not head_of(blocks["open"]).monotonic
    assert head_of(blocks["temperature"]).kind is Kind.GAUGE
    assert isinstance(latency.values, list)
    assert latency.values[0].sum == pytest.approx(0.02)
    assert sum(latency.values[0].counts) == 1
    assert head_of(size).kind is Kind.EXPONENTIAL_HISTOGRAM
    assert isinstance(size.values, list)
    assert size.values[0].layout.scale is not None
    assert (dict(head.resource)["service.name"], orders.service) == ("shop", "shop")
    assert not any(key.startswith("telemetry.") for key, _ in head.resource)
    assert head.scope == "shop.meter"


def test_integers_and_zeros_keep_their_value() -> None:
    metric = Metric(name="orders", unit="1")
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(time_unix_nano=NOW, as_int=7)
    metric.sum.data_points.add(time_unix_nano=NOW + 1000, as_int=0)
    metric.sum.data_points.add(time_unix_nano=NOW + 2000, as_double=0.0)
    found = decode(metric)
    assert isinstance(found.blocks[0].values, np.ndarray)
    assert found.blocks[0].values.tolist() == [7, 0, 0]
    assert head_of(found.blocks[0]).temporality is Temporality.DELTA


def test_exponential_histograms_keep_both_sides() -> None:
    found = decode(exponential()).blocks[0].values
    assert isinstance(found, list)
    assert found == [Histogram(6, found[0].sum, found[0].min, found[0].max, found[0].layout, (2, 1), -2, 1, 4, (2,))]
    assert found[0].layout.scale == 3
    assert np.isnan(found[0].sum)


def test_a_point_without_recorded_value_is_no_fault() -> None:
    found = decode(gauge(1.0, flags=1))
    assert (found.accepted, found.rejected) == (0, 0)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (gauge(float("nan")), "not a finite number"),
        (gauge(float("inf")), "not a finite number"),
        (gauge(1.0, time_unix_nano=0), "no time"),
        (gauge(1.0, time_unix_nano=NOW - 49 * 3600 * 10**9), "48 h in the past"),
        (gauge(1.0, time_unix_nano=NOW + 11 * 60 * 10**9), "10 min in the future"),
        (gauge(1.0, time_unix_nano=2**64 - 1), "in the future"),
        (gauge(1.0, start_time_unix_nano=NOW + 10**9), "start time is after"),
        (gauge(1.0, name=""), "no name"),
        (gauge(1.0, name="x" * 256), "longer than 255"),
        (gauge(1.0, name="a\x00b"), "NUL"),
        (histogram(bucket_counts=[1, 2]), "number of bucket counts"),
        (histogram(count=4), "do not add up"),
        (histogram(explicit_bounds=[1.0, 0.5]), "ascending"),
        (histogram(explicit_bounds=[0.5, float("inf")]), "ascending"),
        (histogram(sum=float("inf")), "not a finite number"),
        (histogram(count=2**64 - 1), "out of range"),
        (histogram(bucket_counts=[0] * 2000, explicit_bounds=[], count=0), "more than 1024 buckets"),
        (exponential(scale=40), "out of range"),
        (exponential(scale=-10, positive={"offset": 5, "bucket_counts": [2, 1]}), "range of floating point"),
    ],
)
def test_a_point_that_makes_no_sense_is_rejected_with_the_reason(metric: Metric, reason: str) -> None:
    found = decode(metric, gauge(1.0, name="fine"))
    assert (found.accepted, found.rejected) == (1, 1)
    assert reason in found.message


def test_a_point_without_a_value_is_rejected() -> None:
    metric = Metric(name="empty")
    metric.gauge.data_points.add(time_unix_nano=NOW)
    assert decode(metric).rejected == 1


def test_unspecified_temporality_and_summaries_are_rejected() -> None:
    unspecified, summary = Metric(name="orders"), Metric(name="old")
    unspecified.sum.data_points.add(time_unix_nano=NOW, as_int=1)
    summary.summary.data_points.add(time_unix_nano=NOW, count=1)
    found = decode(unspecified, summary)
    assert found.rejected == 2
    assert "temporality" in found.message
    assert "summaries" in found.message


def test_the_reply_says_how_many_points_were_left_out() -> None:
    reply = ExportMetricsServiceResponse.FromString(otlp.response(3, "3 points: too old"))
    assert reply.partial_success.rejected_data_points == 3
    assert reply.partial_success.error_message == "3 points: too old"
    assert not ExportMetricsServiceResponse.FromString(otlp.response(0, "")).HasField("partial_success")


@pytest.mark.parametrize(
    "body",
    [request(gauge(1.0))[:-3], b"\xff\xff\xff\xff", gzip.compress(b""), b"\x0a\x05hello"],
    ids=["truncated", "noise", "gzip", "nonsense"],
)
def test_a_body_that_is_not_otlp_is_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable):
        otlp.decode(body, WINDOW)


def test_a_name_in_broken_utf8_is_undecodable() -> None:
    body = request(gauge(1.0, name="queue.length")).replace(b"queue.length", b"queue.\xff\xfe\xfdgth")
    with pytest.raises(Undecodable):
        otlp.decode(body, WINDOW)


def test_an_attribute_in_broken_utf8_is_undecodable() -> None:
    metric = gauge(1.0)
    metric.gauge.data_points[0].attributes.add(key="route").value.string_value = "/basket"
    found = otlp.decode(request(metric).replace(b"/basket", b"/\xff\xfeaske"), WINDOW)
    with pytest.raises(Undecodable):
        found.blocks[0].describe(found.blocks[0].keys[0])


def test_lists_and_maps_become_json() -> None:
    metric = gauge(1.0)
    point = metric.gauge.data_points[0]
    point.attributes.add(key="list").value.array_value.values.add().int_value = 1
    pair = point.attributes.add(key="map").value.kvlist_value.values.add(key="a")
    pair.value.bool_value = True
    point.attributes.add(key="raw").value.bytes_value = b"\x01\xff"
    point.attributes.add(key="none")
    block = decode(metric).blocks[0]
    assert block.describe(block.keys[0])[1] == {"list": "[1]", "map": '{"a":true}', "raw": "01ff", "none": ""}


def test_a_request_with_too_many_points_is_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_POINTS", 2)
    with pytest.raises(TooLarge, match="points"):
        decode(gauge(1.0, 2.0, 3.0))
    monkeypatch.setattr(otlp, "MAX_METRICS", 1)
    with pytest.raises(TooLarge, match="metrics"):
        decode(gauge(1.0), gauge(1.0))
