"""HTTP in, one service call."""

from collections.abc import AsyncIterator, Iterator
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from plumbline_analysis.points.schemas import Metric, Unit
from plumbline_analysis.sources.history import Defaults, Slice
from plumbline_analysis.uploads import service
from plumbline_common import offload, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia
from plumbline_common.schemas import Name

router = APIRouter(tags=["telemetry"])

BODY_LIMITS = {"/api/v1/telemetry/uploads": 512 * 1024 * 1024}
"""In bytes, by path."""
_TEXT = {"schema": {"type": "string"}}


@router.post(
    "/api/v1/telemetry/uploads",
    response_class=StreamingResponse,
    responses={200: {"content": {web.LINES: _TEXT}}},
    openapi_extra={"requestBody": {"content": {service.CSV: _TEXT, web.LINES: _TEXT}, "required": True}},
)
async def upload(
    actor: Annotated[UserInfo, Depends(require("ingest", "operator"))],
    request: Request,
    service_name: Annotated[
        Name | None, Query(alias="service", description="`service.name`, where none is given")
    ] = None,
    metric: Annotated[Metric | None, Query(description="Of the points that name none")] = None,
    unit: Annotated[Unit, Query(description="In UCUM's notation")] = "",
    kind: Annotated[Literal["gauge", "counter"], Query(description="A counter only grows, or begins anew")] = "gauge",
) -> StreamingResponse:
    """A file of history as CSV or JSON lines. The answer begins when the whole file has come: a line for each slice
    that is stored and for each line that is refused, and a last one with the totals. What is there already is left as
    it is, so the same file may be sent again."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (service.CSV, web.LINES):
        raise UnsupportedMedia(f"send {service.CSV} or {web.LINES}, not {media_type[:100]!r}")
    defaults = Defaults(service_name or "", metric or "", unit, kind == "counter")
    spool = await web.spooled(request)
    try:
        slices = await offload.in_thread(service.begin, spool, media_type, defaults, request.app.state.settings)
    except BaseException:
        spool.close()
        raise
    return StreamingResponse(_lines(request, spool, slices), media_type=web.LINES)


async def _lines(request: Request, spool: IO[bytes], slices: Iterator[Slice]) -> AsyncIterator[bytes]:
    state = request.app.state
    with spool:
        async for line in service.store(state.sessions, slices, state.directory):
            yield line.model_dump_json(exclude_none=True).encode() + b"\n"
