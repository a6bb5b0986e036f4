"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Team
from plumbline_requirements.listing.schemas import RequirementPage
from plumbline_requirements.views import service
from plumbline_requirements.views.schemas import ViewContent, ViewPage, ViewResponse

router = APIRouter(prefix="/api/v1/views", tags=["views"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]


@router.get("")
async def page(
    actor: Viewer, session: web.ReadSession, team: Team | None = None, skip: web.Skip = 0, limit: web.Limit = 50
) -> ViewPage:
    """The saved views of a team, or of all teams; the newest first."""
    return await service.page(session, team, skip, limit)


@router.post("", status_code=201, response_model=ViewResponse, responses={201: {"headers": web.ETAG}})
async def create(
    content: ViewContent, actor: Editor, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Keep a query of the list of requirements under a name, for a team."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    created = await service.create(session, content, actor)
    headers = {"ETag": etag(created.revision), "Location": f"{router.prefix}/{created.id}"}
    return await claimed.keep(web.json_response(created.model_dump_json().encode(), 201, headers))


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> ViewResponse:
    """One view."""
    found = await service.read(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.get("/{id}/requirements", response_model=RequirementPage)
async def shown(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    cursor: Annotated[str | None, Query(max_length=16_000, description="`next` of the page before")] = None,
) -> Response:
    """A page of the requirements that the view shows."""
    return web.json_response(await service.shown(session, id, skip, limit, cursor))


@router.put("/{id}", responses={200: {"headers": web.ETAG}})
async def replace(
    id: UUID,
    content: ViewContent,
    actor: Editor,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> ViewResponse:
    """Write anew the revision that If-Match names."""
    written = await service.replace(session, id, content, if_match, actor)
    response.headers["ETag"] = etag(written.revision)
    return written


@router.delete("/{id}", status_code=204)
async def delete(id: UUID, actor: Editor, session: web.Session, if_match: web.IfMatch = None) -> None:
    """Delete the revision that If-Match names."""
    await service.delete(session, id, if_match, actor)
