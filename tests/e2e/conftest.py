"""One embedded stack for all journeys. Tests talk to the gateway; traces come to a receiver of the tests' own."""

import asyncio
import gzip
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plumbline_stack import ports
from plumbline_stack.config import StackConfig
from plumbline_stack.supervisor import Stack


@dataclass(frozen=True)
class Span:
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    attributes: dict[str, Any]


@dataclass
class Receiver:
    """Takes OTLP/HTTP traces and keeps their spans."""

    spans: list[Span] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_span(span, named["service.name"]) for span in scope.spans]
        return Response(b"", media_type="application/x-protobuf")

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


def _span(span: ProtoSpan, service: str) -> Span:
    def value(pair: Any) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        service,
        span.name,
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        {pair.key: value(pair) for pair in span.attributes},
    )


@pytest.fixture(scope="session")
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """The receiver and its endpoint."""
    receiver = Receiver()
    port = ports.choose()
    app = Starlette(routes=[Route("/v1/traces", receiver.take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    yield receiver, f"http://127.0.0.1:{port}/v1/traces"
    server.should_exit = True
    await task


@pytest.fixture(scope="session")
async def stack(receiver: tuple[Receiver, str]) -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="plumbline-e2e-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        config = StackConfig(
            folder=folder / "stack",
            durable=False,
            otlp_traces_endpoint=receiver[1],
            extra_env={
                "PLUMBLINE_ANALYSIS_EVALUATION_INTERVAL_SECONDS": "2",
                "PLUMBLINE_ANALYSIS_SHORT_FLOOR_SECONDS": "6",
                "PLUMBLINE_ANALYSIS_LONG_FLOOR_SECONDS": "14",
            },
        )
        async with Stack(config) as stack:
            yield stack


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """A client of the gateway for each kind of caller: `caller("editor", subject="alice", teams=["platform"])`."""
    made: list[httpx.AsyncClient] = []

    def make(*roles: str, token: str | None = None, **claims: Any) -> httpx.AsyncClient:
        token = stack.token(*roles, **claims) if token is None else token
        made.append(
            httpx.AsyncClient(
                base_url=stack.urls["gateway"],
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=20,
                trust_env=False,
            )
        )
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


async def until(look: Callable[[], Awaitable[Any]], seconds: float, what: str) -> Any:
    """Poll until `look` finds something; fail with `what` where it does not in time."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.3)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[Any]]:
    return until
