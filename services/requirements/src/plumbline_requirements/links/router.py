"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Name, Team
from plumbline_requirements.links import service
from plumbline_requirements.links.rules import Filters, LinkType
from plumbline_requirements.links.schemas import (
    ClearanceContent,
    ImpactPage,
    LinkContent,
    LinkPage,
    LinkPatch,
    LinkResponse,
    MatrixPage,
)

router = APIRouter(tags=["links"])

PREFIX = "/api/v1/links"
Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
Types = Annotated[list[LinkType] | None, Query(alias="type", min_length=1, max_length=6)]

_REACHING = [LinkType.DERIVES, LinkType.REFINES, LinkType.VERIFIES, LinkType.MITIGATES]


@router.get(PREFIX)
async def page(
    actor: Viewer,
    session: web.ReadSession,
    source_id: UUID | None = None,
    target_id: UUID | None = None,
    requirement_id: Annotated[UUID | None, Query(description="At either end")] = None,
    types: Types = None,
    suspect: Annotated[bool | None, Query(description="Whether the target changed since the last review")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> LinkPage:
    """Links that match, the newest first."""
    asked = Filters(source_id, target_id, requirement_id, types or (), suspect)
    return await service.page(session, asked, skip, limit)


@router.post(PREFIX, status_code=201, response_model=LinkResponse, responses={201: {"headers": web.ETAG}})
async def create(
    content: LinkContent, actor: Editor, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Link a requirement of the caller's team with any other."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    created = await service.create(session, content, actor)
    headers = {"ETag": etag(created.revision), "Location": f"{PREFIX}/{created.id}"}
    return await claimed.keep(web.json_response(created.model_dump_json().encode(), 201, headers))


@router.get(f"{PREFIX}/matrix")
async def matrix(
    actor: Viewer,
    session: web.ReadSession,
    service_name: Annotated[Name | None, Query(alias="service")] = None,
    owner_team: Team | None = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> MatrixPage:
    """The traceability matrix: each requirement with all that it is linked with, by key."""
    return await service.matrix(session, service_name, owner_team, skip, limit)


@router.get(f"{PREFIX}/{{id}}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> LinkResponse:
    """One link with both ends."""
    found = await service.read(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.patch(f"{PREFIX}/{{id}}", responses={200: {"headers": web.ETAG}})
async def change(
    id: UUID,
    patch: LinkPatch,
    actor: Editor,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> LinkResponse:
    """Change note or evidence (JSON Merge Patch)."""
    changed = await service.change(session, id, patch, if_match, actor)
    response.headers["ETag"] = etag(changed.revision)
    return changed


@router.delete(f"{PREFIX}/{{id}}", status_code=204)
async def delete(id: UUID, actor: Editor, session: web.Session, if_match: web.IfMatch = None) -> None:
    """Remove a link."""
    await service.delete(session, id, if_match, actor)


@router.post(f"{PREFIX}/{{id}}/clearance", responses={200: {"headers": web.ETAG}})
async def clear(
    id: UUID,
    content: ClearanceContent,
    actor: Editor,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> LinkResponse:
    """Say that a suspect link still holds; the reason stands in the audit log."""
    cleared = await service.clear(session, id, content, if_match, actor)
    response.headers["ETag"] = etag(cleared.revision)
    return cleared


@router.get("/api/v1/requirements/{id}/impact")
async def impact(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    types: Types = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> ImpactPage:
    """The requirements that a change of this one reaches: those that link to it, and to them, and so on.

    Over `derives`, `refines`, `verifies` and `mitigates`, unless `type` says others.
    """
    return await service.impact(session, id, types or _REACHING, skip, limit)
