"""HTTP in, one service call."""

from collections.abc import AsyncIterator
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia
from plumbline_requirements.bulk import service
from plumbline_requirements.bulk.schemas import BulkRequest, BulkResponse

router = APIRouter(prefix="/api/v1/requirements", tags=["bulk"])

EditorOrReviewer = Annotated[UserInfo, Depends(require("editor", "reviewer"))]
LINES = web.LINES
BODY_LIMITS = {f"{router.prefix}/bulk": 16 * 1024 * 1024, f"{router.prefix}/bulk/lines": 512 * 1024 * 1024}
"""In bytes, by path."""


@router.post("/bulk", response_model=BulkResponse)
async def bulk(
    wanted: BulkRequest,
    actor: EditorOrReviewer,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Create, update and move up to 1,000 requirements, with a result for each; `atomic` makes all or none."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    results = await service.run(session, wanted.items, wanted.atomic, actor)
    return await claimed.keep(web.json_response(results.model_dump_json(exclude_none=True).encode()))


@router.post(
    "/bulk/lines",
    response_class=StreamingResponse,
    responses={200: {"content": {LINES: {"schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": {"content": {LINES: {"schema": {"type": "string"}}}, "required": True}},
)
async def bulk_lines(actor: EditorOrReviewer, request: Request, key: idempotency.Key = None) -> StreamingResponse:
    """Any number of the same changes, one JSON object a line; a result line for each, a hundred at a time.

    The results begin when the whole body has come. With an Idempotency-Key a request that broke off may be sent
    again: what was done is answered and not done twice.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != LINES:
        raise UnsupportedMedia(f"send {LINES}")
    spool = await web.spooled(request)
    return StreamingResponse(_results(request, spool, key, actor), media_type=LINES)


async def _results(request: Request, spool: IO[bytes], key: str | None, actor: UserInfo) -> AsyncIterator[bytes]:
    with spool:
        async for part in service.run_lines(
            request.app.state.sessions, web.lines(spool, service.LONGEST_LINE), key, actor
        ):
            yield part
