"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_requirements.consents.schemas import DecisionContent, RevocationContent
from plumbline_requirements.exemptions import service
from plumbline_requirements.exemptions.schemas import (
    ExemptionContent,
    ExemptionPage,
    ExemptionResponse,
    StatusFilter,
)

router = APIRouter(prefix="/api/v1/exemptions", tags=["exemptions"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
Reviewer = Annotated[UserInfo, Depends(require("reviewer"))]
EditorOrReviewer = Annotated[UserInfo, Depends(require("editor", "reviewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    requirement_id: UUID | None = None,
    status: Annotated[StatusFilter | None, Query(description="`active`: approved and within its time")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> ExemptionPage:
    """The exemptions of a requirement, or all; the newest first."""
    return await service.page(session, requirement_id, status, skip, limit)


@router.post("", status_code=201, response_model=ExemptionResponse, responses={201: {"headers": web.ETAG}})
async def request_one(
    content: ExemptionContent, actor: Editor, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Ask for an exemption of a requirement of the caller's team; it excuses nothing until a reviewer approves it."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    requested = await service.request(session, content, actor)
    headers = {"ETag": etag(requested.revision), "Location": f"{router.prefix}/{requested.id}"}
    return await claimed.keep(web.json_response(requested.model_dump_json().encode(), 201, headers))


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> ExemptionResponse:
    """One exemption."""
    found = await service.read(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.post("/{id}/decision", response_model=ExemptionResponse, responses={200: {"headers": web.ETAG}})
async def decide(
    id: UUID,
    content: DecisionContent,
    actor: Reviewer,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Approve or reject what another asked for."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(_answer(await service.decide(session, id, content, if_match, actor)))


@router.post("/{id}/revocation", response_model=ExemptionResponse, responses={200: {"headers": web.ETAG}})
async def revoke(
    id: UUID,
    content: RevocationContent,
    actor: EditorOrReviewer,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """End an approved exemption before its time: an editor of the requirement's team, or a reviewer."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(_answer(await service.revoke(session, id, content, if_match, actor)))


def _answer(exemption: ExemptionResponse) -> Response:
    return web.json_response(exemption.model_dump_json().encode(), headers={"ETag": etag(exemption.revision)})
