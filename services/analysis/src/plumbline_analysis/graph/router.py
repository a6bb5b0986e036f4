"""HTTP in, one service call."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis import otlp_http
from plumbline_analysis.graph import service
from plumbline_analysis.graph.schemas import ServiceGraph
from plumbline_analysis.otlp_http import JSON, PROTOBUF
from plumbline_analysis.sources import otlp_traces, otlp_traces_json
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Name

router = APIRouter()

_DECODERS = {PROTOBUF: otlp_traces.decode, JSON: otlp_traces_json.decode}


@router.post(
    "/v1/traces",
    tags=["telemetry"],
    response_class=Response,
    **otlp_http.documentation("Trace", "resourceSpans", "rejectedSpans", "the calls that it tells of are counted"),
)
async def export_traces(actor: Annotated[UserInfo, Depends(require("ingest"))], request: Request) -> Response:
    """OTLP/HTTP traces, of which only the service graph is kept: who calls whom. Errors are problem+json; 400 means
    that the data must not be sent again (OTLP)."""
    state = request.app.state
    export = await otlp_http.read(
        request, _DECODERS, lambda decode, body, encoding: service.read(decode, body, encoding, state.settings)
    )
    await state.learner.learn(export.found)
    spans = export.found
    if export.media_type == PROTOBUF:
        return Response(otlp_traces.response(spans.rejected, spans.message), media_type=PROTOBUF)
    partial = {"rejectedSpans": str(spans.rejected), "errorMessage": spans.message}
    return web.json_response(orjson.dumps({"partialSuccess": partial} if spans.rejected else {}))


@router.get("/api/v1/services/graph", tags=["services"])
async def graph(
    actor: Annotated[UserInfo, Depends(require("viewer"))],
    session: web.ReadSession,
    service_name: Annotated[
        Name | None, Query(alias="service", description="Only this service with its neighbours")
    ] = None,
) -> ServiceGraph:
    """Which service calls which, learned from traces and metrics; what was not seen for days is forgotten."""
    return await service.graph(session, service_name)
