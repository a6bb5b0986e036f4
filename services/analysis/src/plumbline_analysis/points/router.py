"""HTTP in, one service call."""

from email.message import Message
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from plumbline_analysis import otlp_http
from plumbline_analysis.otlp_http import JSON, PROTOBUF
from plumbline_analysis.points import service
from plumbline_analysis.points.schemas import PushRequest, PushResponse
from plumbline_analysis.points.service import Written
from plumbline_analysis.sources import otlp, otlp_json, remote_write
from plumbline_analysis.sources.batch import Batch
from plumbline_common import problems, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia

router = APIRouter(tags=["telemetry"])

_DECODERS = {PROTOBUF: otlp.decode, JSON: otlp_json.decode}


@router.post(
    "/v1/metrics",
    response_class=Response,
    **otlp_http.documentation("Metrics", "resourceMetrics", "rejectedDataPoints"),
)
async def export_metrics(
    actor: Annotated[UserInfo, Depends(require("ingest"))], session: web.Session, request: Request
) -> Response:
    """OTLP/HTTP metrics. Errors are problem+json; 400 means that the data must not be sent again (OTLP)."""
    state = request.app.state
    export = await otlp_http.read(
        request,
        _DECODERS,
        lambda decode, body, encoding: service.read(decode, body, encoding, state.settings, state.directory),
    )
    return _reply(await service.store(session, export.found, state.directory), export.media_type)


def _reply(stored: Batch, media_type: str) -> Response:
    if media_type == PROTOBUF:
        return Response(otlp.response(stored.rejected, stored.message), media_type=PROTOBUF)
    partial = {"rejectedDataPoints": str(stored.rejected), "errorMessage": stored.message}
    return web.json_response(orjson.dumps({"partialSuccess": partial} if stored.rejected else {}))


_WRITE_DECODERS = {
    "prometheus.WriteRequest": remote_write.decode_v1,
    "io.prometheus.write.v2.Request": remote_write.decode_v2,
}
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


@router.post(
    "/api/v1/write",
    status_code=204,
    response_class=Response,
    responses={
        204: {
            "description": "All of it is durable",
            "headers": {
                _WRITTEN.format(each): {"schema": {"type": "integer"}}
                for each in ("Samples", "Histograms", "Exemplars")
            },
        }
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "prometheus.WriteRequest or, where the media type's `proto` says so, "
            "io.prometheus.write.v2.Request, in Snappy's block format",
            "content": {PROTOBUF: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def write(
    actor: Annotated[UserInfo, Depends(require("ingest"))], session: web.Session, request: Request
) -> Response:
    """Prometheus remote-write 1.0 and 2.0. 400 means that something was left out and must not be sent again; what
    could be stored is stored. Exemplars are not kept."""
    state = request.app.state
    export = await otlp_http.read(
        request,
        {PROTOBUF: _write_decoder(request.headers.get("content-type", ""))},
        lambda decode, body, encoding: service.read_write(decode, body, encoding, state.settings, state.directory),
    )
    return _written(request, await service.write(session, *export.found, state.directory))


def _write_decoder(content_type: str) -> Any:
    """By the parameter `proto`, without which it is 1.0. Raises `UnsupportedMedia`."""
    message = Message()
    message["content-type"] = content_type
    named = str(message.get_param("proto", "prometheus.WriteRequest"))
    if (decode := _WRITE_DECODERS.get(named)) is None:
        raise UnsupportedMedia(f"send {' or '.join(_WRITE_DECODERS)}, not {named[:100]!r}")
    return decode


def _written(request: Request, written: Written) -> Response:
    counts = {"Samples": written.samples, "Histograms": written.histograms, "Exemplars": 0}
    headers = {_WRITTEN.format(name): str(count) for name, count in counts.items()}
    if not written.message:
        return Response(status_code=204, headers=headers)
    # Returned, not raised: what was stored stays.
    return problems.problem(
        400,
        "partly-written",
        "Not all points could be stored",
        request=request,
        detail=written.message,
        headers=headers,
    )


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
