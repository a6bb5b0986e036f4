"""A service for tests: tells what it received. `standin_service.py NAME PORT`.

`…/fail` (and `?fail`) answers 503 and counts its attempts, `/v1/metrics` remembers what `/received` gives,
`…/stream` answers a chunk, and the end after a pause of `?seconds`.
"""

import asyncio
import gzip
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from plumbline_stack.collector.otlp import attributes, service_name

attempts: Counter[str] = Counter()
received: dict[str, list[dict[str, Any]]] = {}


async def ready(_: Request) -> Response:
    return JSONResponse({})


async def anything(request: Request) -> Response:
    body = await request.body()
    if request.url.path.endswith("/fail") or "fail" in request.query_params:
        tried = f"{request.method} {request.url.path}"
        attempts[tried] += 1
        return JSONResponse({"attempts": attempts[tried]}, 503)
    return JSONResponse(
        {"service": sys.argv[1], "headers": dict(request.headers), "bytes": len(body), "pid": os.getpid()}
    )


async def stream(request: Request) -> Response:
    if "fail" in request.query_params:
        return await anything(request)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"id: 1\n\n"
        await asyncio.sleep(float(request.query_params["seconds"]))
        yield b"id: 2\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


async def metrics_in(request: Request) -> Response:
    message = ExportMetricsServiceRequest()
    message.ParseFromString(gzip.decompress(await request.body()))
    for resource in message.resource_metrics:
        service = service_name(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                received[f"{service}/{metric.name}"] = [
                    {
                        "unit": metric.unit,
                        "attributes": attributes(point.attributes),
                        "count": point.count,
                        "bounds": list(point.explicit_bounds),
                        "counts": list(point.bucket_counts),
                        "start": point.start_time_unix_nano,
                        "time": point.time_unix_nano,
                    }
                    for point in metric.histogram.data_points
                ]
    return Response(b"")


async def metrics_out(_: Request) -> Response:
    return JSONResponse(received)


app = Starlette(
    routes=[
        Route("/readyz", ready),
        Route("/v1/metrics", metrics_in, methods=["POST"]),
        Route("/received", metrics_out),
        Route("/api/v1/events/stream", stream),
        Route("/{path:path}", anything, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
