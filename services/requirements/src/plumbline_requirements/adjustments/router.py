"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import AdjustmentCategory, Name
from plumbline_requirements.adjustments import service as adjustments
from plumbline_requirements.adjustments.schemas import AdjustmentContent, AdjustmentDetail, AdjustmentPage
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.consents.schemas import DecisionContent, RevocationContent

router = APIRouter(prefix="/api/v1/adjustments", tags=["adjustments"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
Reviewer = Annotated[UserInfo, Depends(require("reviewer"))]
EditorOrReviewer = Annotated[UserInfo, Depends(require("editor", "reviewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    requirement_id: Annotated[UUID | None, Query(description="Those that name it, or its service and team")] = None,
    service: Name | None = None,
    category: AdjustmentCategory | None = None,
    status: Annotated[Status | None, Query(description="`expired`: approved, and all its windows are past")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> AdjustmentPage:
    """Adjustments of error budgets, the newest first."""
    return await adjustments.page(session, requirement_id, service, category, status, skip, limit)


@router.post("", status_code=201, response_model=AdjustmentDetail, responses={201: {"headers": web.ETAG}})
async def request_one(
    content: AdjustmentContent, actor: Editor, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Ask for times that burn no error budget, once or by an RRULE; they burn it until a reviewer approves."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    requested = await adjustments.request(session, content, actor)
    headers = {"ETag": etag(requested.revision), "Location": f"{router.prefix}/{requested.id}"}
    return await claimed.keep(web.json_response(requested.model_dump_json().encode(), 201, headers))


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> AdjustmentDetail:
    """One adjustment."""
    found = await adjustments.read(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.post("/{id}/decision", response_model=AdjustmentDetail, responses={200: {"headers": web.ETAG}})
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
    return await claimed.keep(_answer(await adjustments.decide(session, id, content, if_match, actor)))


@router.post("/{id}/revocation", response_model=AdjustmentDetail, responses={200: {"headers": web.ETAG}})
async def revoke(
    id: UUID,
    content: RevocationContent,
    actor: EditorOrReviewer,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """End an approved adjustment before its time: an editor of the team that asked, or a reviewer.

    What of it is past stays.
    """
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(_answer(await adjustments.revoke(session, id, content, if_match, actor)))


def _answer(adjustment: AdjustmentDetail) -> Response:
    return web.json_response(adjustment.model_dump_json().encode(), headers={"ETag": etag(adjustment.revision)})
