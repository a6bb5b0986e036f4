"""The collector's HTTP interface: OTLP in, traces and logs out."""

import contextlib
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plumbline_stack.collector import otlp
from plumbline_stack.collector.store import Store


def create_app(
    store: Store,
    put_traces: Callable[[ExportTraceServiceRequest], None],
    put_metrics: Callable[[ExportMetricsServiceRequest], None],
    put_logs: Callable[[ExportLogsServiceRequest], None],
    lifespan: Callable[[], contextlib.AbstractAsyncContextManager[None]],
) -> Starlette:
    """`put_traces`, `put_metrics` and `put_logs` take each message of their kind and return at once; `lifespan` runs
    beside the requests."""

    @contextlib.asynccontextmanager
    async def around(_: Starlette) -> AsyncIterator[None]:
        async with lifespan():
            yield

    async def traces_in(request: Request) -> Response:
        message = await _message(request, ExportTraceServiceRequest)
        await store.add_spans(otlp.span_rows(message))
        put_traces(message)
        return _accepted(request, ExportTraceServiceResponse())

    async def logs_in(request: Request) -> Response:
        message = await _message(request, ExportLogsServiceRequest)
        await store.add_logs(otlp.log_rows(message))
        put_logs(message)
        return _accepted(request, ExportLogsServiceResponse())

    async def metrics_in(request: Request) -> Response:
        put_metrics(await _message(request, ExportMetricsServiceRequest))
        return _accepted(request, ExportMetricsServiceResponse())

    async def trace_out(request: Request) -> Response:
        return JSONResponse(await store.trace(request.path_params["trace_id"].lower()))

    async def traces_out(request: Request) -> Response:
        query = request.query_params
        return JSONResponse(await store.traces(query.get("service"), query.get("name"), _limit(request)))

    async def logs_out(request: Request) -> Response:
        query = request.query_params
        return JSONResponse(await store.logs(query.get("service"), query.get("trace_id"), _limit(request)))

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/traces", traces_in, methods=["POST"]),
            Route("/v1/logs", logs_in, methods=["POST"]),
            Route("/v1/metrics", metrics_in, methods=["POST"]),
            Route("/traces/{trace_id}", trace_out),
            Route("/traces", traces_out),
            Route("/logs", logs_out),
            Route("/healthz", alive),
        ],
        exception_handlers={otlp.Unreadable: _unreadable, ClientDisconnect: _gone},
        lifespan=around,
    )


async def _message(request: Request, kind: type[otlp.M]) -> otlp.M:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > otlp.LIMIT:
            raise otlp.Unreadable(413, f"the body has more than {otlp.LIMIT} bytes")
    headers = request.headers
    return otlp.decode(kind, bytes(body), headers.get("content-type", ""), headers.get("content-encoding", ""))


def _accepted(request: Request, reply: Message) -> Response:
    if request.headers.get("content-type", "").startswith("application/json"):
        return JSONResponse({})
    return Response(reply.SerializeToString(), media_type="application/x-protobuf")


async def _unreadable(_: Request, error: Exception) -> Response:
    assert isinstance(error, otlp.Unreadable)
    return JSONResponse({"message": str(error)}, error.status)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", "")
    return min(int(given), 1000) if given.isdecimal() else 50
