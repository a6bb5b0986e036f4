"""Metrics on their way to the gateway: Envoy's put into semantic-convention form, then sent with a token."""

import asyncio
import contextlib
import gzip
import logging
import time

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from plumbline_stack.keys import Issuer

_log = logging.getLogger(__name__)
_TOKEN_SECONDS = 3600.0
_MICROSECONDS = frozenset({"http.server.request.duration"})
_UNITS = {"http.server.active_requests": "{request}", "process.memory.usage": "By"}


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
    metric.unit = _UNITS.get(metric.name, metric.unit)
    for point in metric.histogram.data_points:
        # Envoy gives the start in microseconds and the time in nanoseconds.
        if point.start_time_unix_nano < point.time_unix_nano // 500:
            point.start_time_unix_nano *= 1000
        if metric.name in _MICROSECONDS:
            metric.unit = "s"
            point.sum /= 1e6
            point.explicit_bounds[:] = [bound / 1e6 for bound in point.explicit_bounds]
        for pair in point.attributes:
            _number(pair)


def _number(pair: KeyValue) -> None:
    if pair.key == "http.response.status_code" and pair.value.string_value.isdigit():
        pair.value.int_value = int(pair.value.string_value)


class Forwarder:
    """Sends metrics to the gateway in the background. What can't be sent in time is dropped, oldest first."""

    def __init__(self, endpoint: str, issuer: Issuer, *, capacity: int = 60) -> None:
        self._endpoint = endpoint
        self._issuer = issuer
        self._capacity = capacity
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._token = ""
        self._renew_at = 0.0
        self._failing = False

    def put(self, message: ExportMetricsServiceRequest) -> None:
        """Takes a message at once. From the event loop's thread only."""
        while self._waiting.qsize() >= self._capacity:
            self._waiting.get_nowait()
        self._waiting.put_nowait(gzip.compress(message.SerializeToString(), compresslevel=1))

    async def run(self) -> None:
        """Sends until cancelled. A gateway that is away is tried again with the next message."""
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                body = await self._waiting.get()
                problem = await self._send(client, body)
                if problem and not self._failing:
                    _log.warning("metrics do not reach %s: %s", self._endpoint, problem)
                self._failing = bool(problem)

    async def _send(self, client: httpx.AsyncClient, body: bytes) -> str:
        headers = {
            "authorization": f"Bearer {self._fresh_token()}",
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
        }
        with contextlib.suppress(httpx.HTTPError):
            reply = await client.post(self._endpoint, content=body, headers=headers)
            return "" if reply.is_success else f"status {reply.status_code}"
        return "no answer"

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._renew_at:
            self._token = self._issuer.token("ingest", subject="collector", expires_in=_TOKEN_SECONDS)
            self._renew_at = time.monotonic() + _TOKEN_SECONDS / 2
        return self._token
