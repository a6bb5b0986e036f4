"""HTTP in, one service call."""

from hashlib import blake2b
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response

from plumbline_analysis import otlp_http
from plumbline_analysis.lines import service
from plumbline_analysis.lines.schemas import LinesResponse
from plumbline_analysis.otlp_http import JSON, PROTOBUF
from plumbline_analysis.sources import json_lines, otlp_logs, otlp_logs_json
from plumbline_analysis.sources.lines import Lines
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require

router = APIRouter(tags=["telemetry"])

_DECODERS = {PROTOBUF: otlp_logs.decode, JSON: otlp_logs_json.decode}


@router.post(
    "/v1/logs",
    response_class=Response,
    **otlp_http.documentation("Logs", "resourceLogs", "rejectedLogRecords"),
)
async def export_logs(
    actor: Annotated[UserInfo, Depends(require("ingest"))], session: web.Session, request: Request
) -> Response:
    """OTLP/HTTP logs. Errors are problem+json; 400 means that the data must not be sent again (OTLP).

    The same body within 24 h is one export, where its records have a time: a retry changes nothing.
    """
    settings = request.app.state.settings
    export = await otlp_http.read(
        request, _DECODERS, lambda decode, body, encoding: service.read(decode, body, encoding, settings)
    )
    return _reply(await service.store_export(session, *export.found), export.media_type)


def _reply(stored: Lines, media_type: str) -> Response:
    if media_type == PROTOBUF:
        return Response(otlp_logs.response(stored.rejected, stored.message), media_type=PROTOBUF)
    partial = {"rejectedLogRecords": str(stored.rejected), "errorMessage": stored.message}
    return web.json_response(orjson.dumps({"partialSuccess": partial} if stored.rejected else {}))


@router.post(
    "/api/v1/telemetry/logs",
    response_model=LinesResponse,
    openapi_extra={"requestBody": {"content": {web.LINES: {"schema": {"type": "string"}}}, "required": True}},
)
async def push(
    actor: Annotated[UserInfo, Depends(require("ingest", "operator"))],
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Log lines, one JSON object a line. A line that can't be taken is named with the reason; the others are kept."""
    settings = request.app.state.settings
    export = await otlp_http.read(
        request,
        {web.LINES: json_lines.decode},
        lambda decode, body, encoding: service.read(decode, body, encoding, settings),
    )
    parsed, digest = export.found
    whole = None if key is None else blake2b(f"{actor.subject}\n{key}\n".encode() + digest, digest_size=16).digest()
    stored = await service.store_lines(session, parsed, whole)
    return web.json_response(stored.model_dump_json().encode())
