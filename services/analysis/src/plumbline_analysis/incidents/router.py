"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.anomalies.schemas import AnomalyPage
from plumbline_analysis.incidents import service
from plumbline_analysis.incidents.schemas import (
    CommentContent,
    IncidentPage,
    IncidentSort,
    Merge,
    Resolution,
    Split,
    Timeline,
)
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Comment, IncidentSnapshot, IncidentState, Instant, Name

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
OnCall = Annotated[UserInfo, Depends(require("editor", "operator"))]

_MADE = web.LOCATION | web.ETAG


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    state: IncidentState | None = None,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    requirement_id: UUID | None = None,
    anomaly_id: Annotated[UUID | None, Query(description="That this anomaly belongs to")] = None,
    since: Annotated[Instant | None, Query(description="Began then or later")] = None,
    until: Annotated[Instant | None, Query(description="Began before")] = None,
    sort: IncidentSort = IncidentSort.NEWEST,
) -> IncidentPage:
    """Incidents by the onset of their first anomaly, the newest first unless asked otherwise."""
    return await service.page(
        session, state, service_name, requirement_id, anomaly_id, since, until, sort, skip, limit
    )


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> IncidentSnapshot:
    """One incident, with where it probably began and why."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.get("/{id}/anomalies")
async def anomalies(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> AnomalyPage:
    """All of its anomalies, the first first."""
    return await service.anomalies(session, id, skip, limit)


@router.get("/{id}/timeline")
async def timeline(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> Timeline:
    """What happened to it and around it, the earliest first: deployments before it, anomalies, verdicts, what people
    did and said."""
    return await service.timeline(session, id, request.app.state.settings, skip, limit)


@router.post("/{id}/acknowledge", response_model=IncidentSnapshot, responses={200: {"headers": web.ETAG}})
async def acknowledge(
    id: UUID,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Say that somebody sees to an open incident."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(_reply(await service.acknowledge(session, id, if_match, actor)))


@router.post("/{id}/resolve", response_model=IncidentSnapshot, responses={200: {"headers": web.ETAG}})
async def resolve(
    id: UUID,
    actor: OnCall,
    session: web.Session,
    request: Request,
    content: Resolution = Resolution(),
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Say that an incident is over, whatever its anomalies do."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(_reply(await service.resolve(session, id, content.reason, if_match, actor)))


@router.post("/{id}/comments", status_code=201, response_model=Comment, responses={201: {"headers": web.ETAG}})
async def comment(
    id: UUID,
    content: CommentContent,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Say something of an incident: it stands in its timeline, and the incident is found by it."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    said, after = await service.comment(session, id, content.text, actor)
    return await claimed.keep(web.json_response(said.model_dump_json().encode(), 201, {"ETag": etag(after.revision)}))


@router.post("/{id}/merge", response_model=IncidentSnapshot, responses={200: {"headers": web.ETAG}})
async def merge(
    id: UUID,
    content: Merge,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Make an incident part of an ongoing one, which is answered."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    settings = request.app.state.settings
    return await claimed.keep(_reply(await service.merge(session, id, content.into, if_match, actor, settings)))


@router.post("/{id}/split", status_code=201, response_model=IncidentSnapshot, responses={201: {"headers": _MADE}})
async def split(
    id: UUID,
    content: Split,
    actor: OnCall,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Make some of its anomalies an incident of their own, which is answered. Only a person joins the two again."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    settings = request.app.state.settings
    made = await service.split(session, id, content.anomaly_ids, if_match, actor, settings)
    return await claimed.keep(_reply(made, 201, {"Location": f"{router.prefix}/{made.id}"}))


def _reply(incident: IncidentSnapshot, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    told = {"ETag": etag(incident.revision)} | (headers or {})
    return web.json_response(incident.model_dump_json().encode(), status, told)
