import asyncio

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from plumbline_stack.collector import host
from plumbline_stack.collector.metrics import normalise
from plumbline_stack.collector.otlp import attributes


def latency(sdk: str) -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    resource.resource.attributes.add(key="telemetry.sdk.name").value.string_value = sdk
    metric = resource.scope_metrics.add().metrics.add(name="http.server.request.duration")
    point = metric.histogram.data_points.add(
        start_time_unix_nano=1_795_407_563_060_233,
        time_unix_nano=1_795_407_567_060_589_000,
        count=2,
        sum=300_000.0,
        bucket_counts=[1, 1, 0],
        explicit_bounds=[100_000.0, 250_000.0],
    )
    point.attributes.add(key="http.response.status_code").value.string_value = "503"
    return message


def test_the_latency_of_envoy_becomes_seconds_since_its_start() -> None:
    message = latency("envoy")
    normalise(message)
    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    point = metric.histogram.data_points[0]
    assert metric.unit == "s"
    assert (point.sum, list(point.explicit_bounds)) == (0.3, [0.1, 0.25])
    assert point.start_time_unix_nano == 1_795_407_563_060_233_000
    assert attributes(point.attributes) == {"http.response.status_code": 503}


def test_the_metrics_of_others_pass_unchanged() -> None:
    message = latency("opentelemetry")
    normalise(message)
    assert message == latency("opentelemetry")


async def test_the_host_is_measured() -> None:
    taken: asyncio.Queue[ExportMetricsServiceRequest] = asyncio.Queue()
    provider = host.measure(taken.put_nowait, 0.1, "test")
    try:
        message = await asyncio.wait_for(taken.get(), 10)
    finally:
        await asyncio.to_thread(provider.shutdown)
    resource = message.resource_metrics[0]
    assert attributes(resource.resource.attributes)["service.name"] == "plumbline-host"
    points = {metric.name: metric.gauge.data_points for scope in resource.scope_metrics for metric in scope.metrics}
    used = [
        point.as_double
        for point in points["system.memory.utilization"]
        if attributes(point.attributes)["system.memory.state"] == "used"
    ]
    assert len(used) == 1
    assert 0 < used[0] < 1
    assert set(points) == {
        "system.cpu.utilization",
        "system.memory.usage",
        "system.memory.utilization",
        "system.paging.utilization",
    }
