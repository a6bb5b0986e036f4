"""The host's own metrics, by OpenTelemetry's instrumentation, into the same way as every other metric."""

import asyncio
import socket
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

# The instrumentation's names and states. Disks and network devices are left out: a host has dozens of both.
_MEASURED: dict[str, list[str] | None] = {
    "system.cpu.utilization": ["user", "system", "idle", "iowait"],
    "system.memory.usage": ["used", "free", "cached"],
    "system.memory.utilization": ["used", "free", "cached"],
    "system.swap.utilization": ["used", "free"],
}
# It still has the attributes' names of before they became stable.
_STABLE = {
    ("system.cpu.utilization", "state"): "cpu.mode",
    ("system.cpu.utilization", "cpu"): "cpu.logical_number",
    ("system.memory.usage", "state"): "system.memory.state",
    ("system.memory.utilization", "state"): "system.memory.state",
    ("system.swap.utilization", "state"): "system.paging.state",
}
Put = Callable[[ExportMetricsServiceRequest], None]


class _ToLoop(MetricExporter):
    """Hands each collection to the event loop: the reader has a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, put: Put) -> None:
        super().__init__()
        self._loop = loop
        self._put = put

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> MetricExportResult:
        if self._loop.is_closed():
            return MetricExportResult.FAILURE
        self._loop.call_soon_threadsafe(self._put, _stable(encode_metrics(metrics_data)))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        pass


def _stable(message: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest:
    for resource in message.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in (*metric.gauge.data_points, *metric.sum.data_points):
                    for pair in point.attributes:
                        pair.key = _STABLE.get((metric.name, pair.key), pair.key)
                if metric.name == "system.swap.utilization":
                    metric.name = "system.paging.utilization"
    return message


def measure(put: Put, interval: float, environment: str) -> MeterProvider:
    """Gives the host's metrics to `put` every `interval` seconds until the provider is shut down."""
    exporter = _ToLoop(asyncio.get_running_loop(), put)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval * 1000)
    resource = Resource.create(
        {
            "service.name": "plumbline-host",
            "host.name": socket.gethostname(),
            "deployment.environment.name": environment,
        }
    )
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    SystemMetricsInstrumentor(config=_MEASURED).instrument(meter_provider=provider)
    return provider
