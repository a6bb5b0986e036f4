import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plumbline_stack import ports
from plumbline_stack.collector import host
from plumbline_stack.collector.metrics import Forwarder, normalise
from plumbline_stack.collector.otlp import attributes
from plumbline_stack.keys import Issuer


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


class Gateway:
    """A server that takes metrics and remembers them."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[dict[str, str], ExportMetricsServiceRequest]] = asyncio.Queue()
        self.port = ports.choose()
        routes = [Route("/v1/metrics", self._take, methods=["POST"])]
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="error"))

    async def _take(self, request: Request) -> Response:
        message = ExportMetricsServiceRequest()
        message.ParseFromString(gzip.decompress(await request.body()))
        self.received.put_nowait((dict(request.headers), message))
        return Response()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._server.serve())
        try:
            yield
        finally:
            self._server.should_exit = True
            await task


@contextlib.asynccontextmanager
async def sending(forwarder: Forwarder) -> AsyncIterator[None]:
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_metrics_reach_the_gateway_once_it_is_there(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway()
    forwarder = Forwarder(f"http://127.0.0.1:{gateway.port}/v1/metrics", issuer, capacity=3)
    for _ in range(100):
        forwarder.put(latency("envoy"))
    async with sending(forwarder):
        async with asyncio.timeout(20):
            while True:
                if "do not reach" in caplog.text:
                    break
                await asyncio.sleep(0.01)
        async with gateway.listening(), asyncio.timeout(20):
            while gateway.received.empty():
                forwarder.put(latency("envoy"))
                await asyncio.sleep(0.05)
            headers, message = gateway.received.get_nowait()
    assert message == latency("envoy")
    claims: dict[str, Any] = jwt.decode(
        headers["authorization"].removeprefix("Bearer "), options={"verify_signature": False}
    )
    assert claims["roles"] == ["ingest"]
    assert caplog.text.count("do not reach") == 1


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
