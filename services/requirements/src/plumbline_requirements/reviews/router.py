"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParameter

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Team
from plumbline_requirements.reviews import service
from plumbline_requirements.reviews.schemas import (
    PolicyContent,
    PolicyPage,
    PolicyView,
    ReviewContent,
    ReviewPage,
    ReviewResult,
)

router = APIRouter(prefix="/api/v1", tags=["reviews"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
EditorOrReviewer = Annotated[UserInfo, Depends(require("editor", "reviewer"))]
Admin = Annotated[UserInfo, Depends(require("admin"))]
TeamPath = Annotated[Team, PathParameter(description="The team")]


@router.post("/requirements/{id}/reviews", status_code=201, response_model=ReviewResult)
async def review(
    id: UUID,
    content: ReviewContent,
    actor: EditorOrReviewer,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Approve, reject, ask for changes or comment. The last approval that the team asks for approves."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    given = await service.review(session, id, content, actor)
    return await claimed.keep(web.json_response(given.model_dump_json().encode(), 201))


@router.get("/requirements/{id}/reviews")
async def page(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> ReviewPage:
    """What was said in all reviews of a requirement, the oldest first."""
    return await service.page(session, id, skip, limit)


@router.get("/policies")
async def policies(actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50) -> PolicyPage:
    """How many approvals the teams ask for; one for a team that is not named."""
    return await service.policies(session, skip, limit)


@router.get("/policies/{team}")
async def policy(team: TeamPath, actor: Viewer, session: web.ReadSession, response: Response) -> PolicyView:
    """How many approvals one team asks for."""
    found = await service.policy(session, team)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/policies/{team}")
async def set_policy(
    team: TeamPath,
    content: PolicyContent,
    actor: Admin,
    session: web.Session,
    response: Response,
    if_match: web.IfMatch = None,
) -> PolicyView:
    """Say how many approvals a team asks for. Reviews that are open are held to it at their next approval."""
    written = await service.set_policy(session, team, content, if_match, actor)
    response.headers["ETag"] = etag(written.revision)
    return written
