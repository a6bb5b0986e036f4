"""HTTP in, one service call."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response

from plumbline_analysis import otlp_http
from plumbline_analysis.otlp_http import JSON, PROTOBUF
from plumbline_analysis.points import service
from plumbline_analysis.points.schemas import PushRequest, PushResponse
from plumbline_analysis.sources import otlp, otlp_json
from plumbline_analysis.sources.batch import Batch
from plumbline_common import web
from plumbline_common.auth import UserInfo, require

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
