"""HTTP in, one service call."""

from collections.abc import AsyncIterator
from typing import IO, Annotated, get_args

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.convertors import Convertor, register_url_convertor

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import UnsupportedMedia
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Name, Team
from plumbline_search.documents import service
from plumbline_search.documents.schemas import DocumentContent, DocumentList, DocumentResponse, ExternalId, Kind


class _KindConvertor(Convertor[str]):
    """Other paths with two parts, such as `/{id}/similar`, are none of these."""

    regex = "|".join(get_args(Kind))

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("document_kind", _KindConvertor())
router = APIRouter(prefix="/api/v1/documents", tags=["documents"])

BODY_LIMITS = {f"{router.prefix}/lines": 512 * 1024 * 1024}
"""In bytes, by path."""

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
IfMatch = Annotated[
    str | None, Header(max_length=200, description="The ETag that was read; without it whatever is there is replaced")
]
ExternalIdPath = Annotated[ExternalId, Path(description="What the source calls it, such as a path in a repository")]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    kind: Kind | None = None,
    service_name: Annotated[Name | None, Query(alias="service")] = None,
    team: Annotated[Team | None, Query()] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> DocumentList:
    """The runbooks and postmortems that the caller may read, the latest changed first."""
    filters = {"kind": kind, "service": service_name, "team": team}
    return await service.page(session, actor, filters, skip, limit)


@router.post(
    "/lines",
    response_class=StreamingResponse,
    responses={200: {"content": {web.LINES: {"schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": {"content": {web.LINES: {"schema": {"type": "string"}}}, "required": True}},
)
async def bulk_lines(actor: Editor, request: Request) -> StreamingResponse:
    """Any number of documents, a JSON object a line, with a result line for each as they are done.

    A line is `{"op": "put", "kind": "runbook", "external_id": "…", "content": {…}}` or
    `{"op": "delete", "kind": …, "external_id": …}`. The results begin when the whole body has come; a last line has
    their sums. What is there as it is given is not touched, so the same request may be sent again.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != web.LINES:
        raise UnsupportedMedia(f"send {web.LINES}")
    spool = await web.spooled(request)
    return StreamingResponse(_results(request, spool, actor), media_type=web.LINES)


async def _results(request: Request, spool: IO[bytes], actor: UserInfo) -> AsyncIterator[bytes]:
    state = request.app.state
    with spool:
        lines = web.lines(spool, service.LONGEST_LINE)
        async for part in service.run_lines(state.sessions, state.serving, lines, actor):
            yield part


@router.get(
    "/{kind:document_kind}/{external_id:path}",
    response_model=DocumentResponse,
    responses={200: {"headers": web.ETAG}},
)
async def one(
    kind: Kind, external_id: ExternalIdPath, actor: Viewer, session: web.ReadSession, response: Response
) -> DocumentResponse:
    """One document with its text."""
    found = await service.one(session, kind, external_id, actor)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put(
    "/{kind:document_kind}/{external_id:path}",
    response_model=DocumentResponse,
    responses={200: {"headers": web.ETAG}, 201: {"model": DocumentResponse, "headers": web.ETAG}},
)
async def put(
    kind: Kind,
    external_id: ExternalIdPath,
    content: DocumentContent,
    actor: Editor,
    request: Request,
    response: Response,
    if_match: IfMatch = None,
) -> DocumentResponse:
    """Create or replace it. It is found when this is answered; what is there as it is given stays untouched."""
    state = request.app.state
    done = await service.put_now(
        state.sessions, state.serving, kind, external_id, content, actor, if_match, patient=False
    )
    response.status_code = 201 if done.result == "created" else 200
    response.headers["ETag"] = etag(done.revision)
    return service.answer(done)


@router.delete("/{kind:document_kind}/{external_id:path}", status_code=204)
async def delete(
    kind: Kind, external_id: ExternalIdPath, actor: Editor, session: web.Session, if_match: IfMatch = None
) -> None:
    """Remove it for good."""
    await service.delete(session, kind, external_id, actor, if_match)
