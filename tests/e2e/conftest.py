"""One stack for all journeys. Tests talk to the gateway; traces come to a receiver of the tests' own.

The stack is the embedded one, or with PLUMBLINE_E2E_TARGET=compose that of docker-compose.yml. What a test needs of
the embedded one alone, its mark `embedded` says, or its fixture `receiver`.
"""

import asyncio
import gzip
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
import uvicorn
from jsonschema import Draft202012Validator, FormatChecker
from nats.aio.msg import Msg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import composed
from plumbline_stack import ports
from plumbline_stack.config import DEFAULT_PORTS, StackConfig
from plumbline_stack.keys import Issuer
from plumbline_stack.supervisor import Stack

TARGETS = ("embedded", "compose")
TARGET = os.environ.get("PLUMBLINE_E2E_TARGET") or "embedded"


def pytest_configure(config: pytest.Config) -> None:
    if TARGET not in TARGETS:
        raise pytest.UsageError(f"PLUMBLINE_E2E_TARGET={TARGET}: there are {', '.join(TARGETS)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if TARGET == "embedded":
        return
    for item in items:
        if (mark := item.get_closest_marker("embedded")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"not against compose: {mark.args[0]}"))
        elif "receiver" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="not against compose: its traces go to its own collector"))
        # The first of them waits for the containers.
        item.add_marker(pytest.mark.timeout(composed.START_SECONDS + float(item.config.getini("timeout"))))


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
    """Takes OTLP/HTTP traces at `endpoint` and keeps their spans."""

    endpoint: str
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

    async def whole(self, trace_id: str, expected: Collection[tuple[str, str]]) -> list[Span]:
        """The spans of a trace once it has all that are expected, by service and name.

        Each process sends its spans when its own batch is due: some seconds lie between the first and the last.
        """

        async def missing_none() -> bool:
            return set(expected) <= {(span.service, span.name) for span in self.of(trace_id)}

        await until(missing_none, 20, f"each of {sorted(expected)} in {self.of(trace_id)}")
        return self.of(trace_id)


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
async def receiver() -> AsyncIterator[Receiver]:
    port = ports.choose()
    receiver = Receiver(f"http://127.0.0.1:{port}/v1/traces")
    app = Starlette(routes=[Route("/v1/traces", receiver.take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    yield receiver
    server.should_exit = True
    await task


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plumbline-e2e-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


if TARGET == "compose":

    @pytest.fixture(scope="session")
    async def stack(folder: Path) -> AsyncIterator[composed.Composed]:
        async with composed.composed(folder) as stack:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PLUMBLINE_URL", stack.urls["gateway"])
                yield stack

else:

    @pytest.fixture(scope="session")
    async def stack(folder: Path, receiver: Receiver) -> AsyncIterator[Stack]:
        config = StackConfig(
            folder=folder / "stack",
            durable=False,
            ports={name: ports.choose() for name in DEFAULT_PORTS},
            otlp_traces_endpoint=receiver.endpoint,
            concurrent_requests=512,
            extra_env={
                # However busy the machine, none is refused.
                "PLUMBLINE_REQUIREMENTS_CONCURRENT_REQUESTS": "1000",
                "PLUMBLINE_SEARCH_CONCURRENT_REQUESTS": "1000",
                "PLUMBLINE_ANALYSIS_CONCURRENT_REQUESTS": "1000",
                "PLUMBLINE_ANALYSIS_EVALUATION_INTERVAL_SECONDS": "2",
                "PLUMBLINE_ANALYSIS_INCIDENT_INTERVAL_SECONDS": "1",
                "PLUMBLINE_ANALYSIS_LOG_INTERVAL_SECONDS": "2",
                "PLUMBLINE_ANALYSIS_SHORT_FLOOR_SECONDS": "6",
                "PLUMBLINE_ANALYSIS_LONG_FLOOR_SECONDS": "14",
                "PLUMBLINE_ANALYSIS_PULL_ALLOWED": '["127.0.0.1"]',
                "PLUMBLINE_ANALYSIS_NOTIFICATION_ALLOWED": '["127.0.0.1"]',
                "PLUMBLINE_ANALYSIS_SECRET_E2E_HOOK": "hook-of-e2e",
            },
        )
        async with Stack(config) as stack:
            yield stack


@pytest.fixture(scope="session")
def signer(stack: Any) -> Issuer:
    """Signs what the stack's own issuer would not: tokens with other claims."""
    return Issuer(stack.folder / "secrets")


@pytest.fixture
async def caller(stack: Any) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
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
                verify=False,
            )
        )
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@dataclass(frozen=True)
class Heard:
    """A message as NATS delivers it; `channel` is its name in the AsyncAPI document."""

    channel: str
    headers: dict[str, str]
    body: Any


class Stranger:
    """A subscriber who knows the AsyncAPI document and nats-py, and nothing of Plumbline's code."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.heard: list[Heard] = []
        self._messages: dict[str, dict[str, Any]] = {}
        """By channel."""
        self._channels: dict[str, str] = {}
        """By address."""
        for operation in document["operations"].values():
            if operation["action"] == "send":
                channel = operation["channel"]["$ref"].removeprefix("#/channels/")
                self._channels[document["channels"][channel]["address"]] = channel
                self._messages[channel] = self._resolved(operation["messages"][0])

    def _resolved(self, reference: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in reference:
            found: Any = self._document
            for part in reference["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            reference = found
        return reference

    @property
    def channels(self) -> dict[str, str]:
        """What is published: the channels by address."""
        return self._channels

    async def hear(self, message: Msg) -> None:
        body = json.loads(message.data)
        self.heard.append(Heard(self._channels[message.subject], dict(message.headers or {}), body))

    def told(self, channel: str, subject: str) -> list[Heard]:
        """What was said on `channel` about the entity `subject`, in the order of arrival."""
        return [each for each in self.heard if (each.channel, each.headers["ce-subject"]) == (channel, subject)]

    def misfits(self) -> list[str]:
        """What is wrong with the messages heard so far, by the document's schemas."""
        found: list[str] = []
        for each in self.heard:
            declared = self._messages[each.channel]
            for part, value in (("payload", each.body), ("headers", each.headers)):
                schema = declared[part] | {"components": self._document["components"]}
                errors = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(value)
                found += [f"{each.channel} {part}: {error.json_path}: {error.message}" for error in errors]
        return found


@pytest.fixture(scope="session")
async def stranger(stack: Any) -> AsyncIterator[Stranger]:
    """Hears every channel that the gateway's document names, from here to the end of the session."""
    async with httpx.AsyncClient(base_url=stack.urls["gateway"], trust_env=False) as client:
        stranger = Stranger((await client.get("/asyncapi.json")).raise_for_status().json())
    connection = await nats.connect(stack.nats_url("subscriber"))
    for address in stranger.channels:
        await connection.subscribe(address, cb=stranger.hear)
    await connection.flush()
    yield stranger
    await connection.close()


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
