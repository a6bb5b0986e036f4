"""Envoy's metrics put into semantic-convention form."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

MICROSECONDS = frozenset({"http.server.request.duration"})
UNITS = {"http.server.active_requests": "{request}", "process.memory.usage": "By"}


def normalise(message: ExportMetricsServiceRequest) -> None:
    """Envoy's metrics in place: durations from microseconds to seconds, status codes as numbers, start times.

    Messages of other producers have nothing of this and pass unchanged.
    """
    for resource in message.resource_metrics:
        names = {pair.value.string_value for pair in resource.resource.attributes if pair.key == "telemetry.sdk.name"}
        if "envoy" not in names:
            continue
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                _normalise(metric)


def _normalise(metric: Metric) -> None:
    metric.unit = UNITS.get(metric.name, metric.unit)
    for point in metric.histogram.data_points:
        # Envoy gives the start in microseconds and the time in nanoseconds.
        if point.start_time_unix_nano < point.time_unix_nano // 500:
            point.start_time_unix_nano *= 1000
        if metric.name in MICROSECONDS:
            metric.unit = "s"
            point.sum /= 1e6
            point.explicit_bounds[:] = [bound / 1e6 for bound in point.explicit_bounds]
        for pair in point.attributes:
            _number(pair)


def _number(pair: KeyValue) -> None:
    if pair.key == "http.response.status_code" and pair.value.string_value.isdigit():
        pair.value.int_value = int(pair.value.string_value)
