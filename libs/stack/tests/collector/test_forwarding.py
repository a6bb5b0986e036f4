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
from plumbline_stack.collector.forwarding import Forwarder
from plumbline_stack.keys import Issuer

SENT = ExportMetricsServiceRequest()
SENT.resource_metrics.add().scope_metrics.add().metrics.add(name="depth")


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


async def test_what_waits_reaches_the_gateway_once_it_is_there(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway()
    forwarder = Forwarder("metrics", f"http://127.0.0.1:{gateway.port}/v1/metrics", issuer, capacity=3)
    for _ in range(100):
        forwarder.put(SENT)
    async with sending(forwarder):
        async with asyncio.timeout(20):
            while True:
                if "metrics do not reach" in caplog.text:
                    break
                await asyncio.sleep(0.01)
        async with gateway.listening(), asyncio.timeout(20):
            received = [await gateway.received.get() for _ in range(3)]
    assert [message for _, message in received] == [SENT] * 3
    headers, _ = received[0]
    claims: dict[str, Any] = jwt.decode(
        headers["authorization"].removeprefix("Bearer "), options={"verify_signature": False}
    )
    assert claims["roles"] == ["ingest"]
    assert caplog.text.count("do not reach") == 1
