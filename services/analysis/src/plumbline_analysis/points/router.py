"""HTTP in, one service call."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, HTTPException, Request, Response

from plumbline_analysis.points import service
from plumbline_analysis.points.schemas import PushRequest, PushResponse
from plumbline_analysis.sources import otlp, otlp_json
from plumbline_analysis.sources.batch import Batch, Undecodable
from plumbline_common import offload, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia

router = APIRouter(tags=["telemetry"])

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_DECODERS = {PROTOBUF: otlp.decode, JSON: otlp_json.decode}
_INLINE_BYTES = 8 * 1024
"""A body this small is decoded sooner than a thread is woken."""

_REQUEST_BODY = {
    "required": True,
    "description": "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest, plain or gzip",
    "content": {
        PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
        JSON: {"schema": {"type": "object", "properties": {"resourceMetrics": {"type": "array", "items": {}}}}},
    },
}
_PARTIAL_SUCCESS = {
    "type": "object",
    "properties": {"rejectedDataPoints": {"type": "string"}, "errorMessage": {"type": "string"}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "ExportMetricsServiceResponse in the encoding of the request; what was accepted is durable",
        "content": {
            PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
            JSON: {"schema": {"type": "object", "properties": {"partialSuccess": _PARTIAL_SUCCESS}}},
        },
    }
}


@router.post(
    "/v1/metrics",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def export_metrics(
    actor: Annotated[UserInfo, Depends(require("ingest"))], session: web.Session, request: Request
) -> Response:
    """OTLP/HTTP metrics. Errors are problem+json; 400 means that the data must not be sent again (OTLP)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (decode := _DECODERS.get(media_type)) is None:
        raise UnsupportedMedia(f"send {PROTOBUF} or {JSON}, not {media_type[:100]!r}")
    body, state = await request.body(), request.app.state
    arguments = (decode, body, request.headers.get("content-encoding", ""), state.settings, state.directory)
    try:
        if len(body) <= _INLINE_BYTES and not request.headers.get("content-encoding"):
            found = service.read(*arguments)
        else:
            found = await offload.in_thread(service.read, *arguments)
    except Undecodable as error:
        place = f" at {error.pointer}" if error.pointer else ""
        raise HTTPException(400, f"{error.detail}{place}") from None
    return _reply(await service.store(session, found, state.directory), media_type)


def _reply(stored: Batch, media_type: str) -> Response:
    if media_type == PROTOBUF:
        return Response(otlp.response(stored.rejected, stored.message), media_type=PROTOBUF)
    partial = {"rejectedDataPoints": str(stored.rejected), "errorMessage": stored.message}
    return web.json_response(orjson.dumps({"partialSuccess": partial} if stored.rejected else {}))


@router.post("/api/v1/telemetry/points")
async def push(
    pushed: PushRequest,
    actor: Annotated[UserInfo, Depends(require("ingest", "operator"))],
    session: web.Session,
    request: Request,
) -> PushResponse:
    """Measurements of gauges as JSON. A point that can't be taken is named with the reason; the others are kept."""
    state = request.app.state
    return await service.push(session, pushed.points, state.settings, state.directory)
