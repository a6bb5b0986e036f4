"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.anomalies import service
from plumbline_analysis.anomalies.schemas import AnomalyPage, AnomalySort, LabelContent, LabelPage, LabelResponse
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import AnomalySnapshot, AnomalyState, Name

router = APIRouter(prefix="/api/v1/anomalies", tags=["anomalies"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
OnCall = Annotated[UserInfo, Depends(require("editor", "operator"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    state: AnomalyState | None = None,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    requirement_id: UUID | None = None,
    sort: AnomalySort = AnomalySort.NEWEST,
    backfilled: Annotated[
        bool | None, Query(description="Only what a backfill found in history, or only the rest")
    ] = None,
) -> AnomalyPage:
    """Anomalies by their onset, the newest first unless asked otherwise."""
    return await service.page(session, state, service_name, requirement_id, sort, skip, limit, backfilled)


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> AnomalySnapshot:
    """One anomaly, with the band that its peak departed from."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.post("/{id}/acknowledge", response_model=AnomalySnapshot, responses={200: {"headers": web.ETAG}})
async def acknowledge(
    id: UUID,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Say that somebody sees to an open anomaly."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    acknowledged = await service.acknowledge(session, id, if_match, actor)
    headers = {"ETag": etag(acknowledged.revision)}
    return await claimed.keep(web.json_response(acknowledged.model_dump_json().encode(), headers=headers))


@router.get("/{id}/labels")
async def labels(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> LabelPage:
    """What people say of an anomaly, the latest first."""
    return await service.labels(session, id, skip, limit)


@router.post(
    "/{id}/labels",
    status_code=201,
    response_model=LabelResponse,
    responses={
        200: {"description": "It takes the place of one's own", "model": LabelResponse, "headers": web.ETAG},
        201: {"headers": web.ETAG},
    },
)
async def label(
    id: UUID,
    content: LabelContent,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Say whether an anomaly was one. The latest label decides on its state, and counts for its detector."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    given, after, is_new = await service.label(session, id, content, actor)
    headers = {"ETag": etag(after.revision)}
    reply = web.json_response(given.model_dump_json().encode(), 201 if is_new else 200, headers)
    return await claimed.keep(reply)
