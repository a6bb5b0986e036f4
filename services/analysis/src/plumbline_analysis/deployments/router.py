"""HTTP in, one service call."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.deployments import service
from plumbline_analysis.deployments.schemas import DeploymentContent, DeploymentPage
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import DeploymentSnapshot, Instant, Name

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Deployer = Annotated[UserInfo, Depends(require("operator", "ingest"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    since: Annotated[Instant | None, Query(description="Deployed then or later")] = None,
    until: Annotated[Instant | None, Query(description="Deployed before")] = None,
) -> DeploymentPage:
    """Deployments, the latest first."""
    return await service.page(session, service_name, since, until, skip, limit)


@router.post(
    "",
    status_code=201,
    response_model=DeploymentSnapshot,
    responses={
        200: {"description": "It was recorded before", "model": DeploymentSnapshot},
        201: {"headers": web.LOCATION},
    },
)
async def record(
    content: DeploymentContent, actor: Deployer, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Tell that a version of a service was deployed. With an `external_id` it may be told again."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    ahead = timedelta(minutes=request.app.state.settings.future_limit_minutes)
    recorded, is_new = await service.record(session, content, actor, ahead)
    headers = {"Location": f"{router.prefix}/{recorded.id}"}
    reply = web.json_response(recorded.model_dump_json().encode(), 201 if is_new else 200, headers)
    return await claimed.keep(reply)


@router.get("/{id}")
async def read(id: UUID, actor: Viewer, session: web.ReadSession) -> DeploymentSnapshot:
    """One deployment."""
    return await service.one(session, id)
