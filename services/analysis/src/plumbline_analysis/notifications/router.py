"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.notifications import service
from plumbline_analysis.notifications.schemas import (
    AlertPage,
    DeliveryPage,
    DeliveryResponse,
    DeliveryState,
    DeliveryTest,
    SilenceContent,
    SilencePage,
    SilenceResponse,
    SilenceState,
    TargetContent,
    TargetPage,
    TargetResponse,
)
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Name

router = APIRouter(prefix="/api/v1/notification-targets", tags=["notifications"])
silences = APIRouter(prefix="/api/v1/silences", tags=["notifications"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Operator = Annotated[UserInfo, Depends(require("operator"))]
OnCall = Annotated[UserInfo, Depends(require("editor", "operator"))]

_MADE = web.ETAG | web.LOCATION


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    name: Annotated[Name | None, Query(description="Only the target of this name")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> TargetPage:
    """Who is told of incidents, objectives and verdicts, by name."""
    return await service.page(session, name, skip, limit)


@router.post("", status_code=201, response_model=TargetResponse, responses={201: {"headers": _MADE}})
async def create(
    content: TargetContent, actor: Operator, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Tell a webhook of what happens from now on."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    made = await service.create(session, content, actor, request.app.state.sender.targets)
    headers = {"ETag": etag(made.revision), "Location": f"{router.prefix}/{made.id}"}
    return await claimed.keep(web.json_response(made.model_dump_json().encode(), 201, headers))


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> TargetResponse:
    """One target. Its secrets are named, never shown."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/{id}", responses={200: {"headers": web.ETAG}})
async def replace(
    id: UUID,
    content: TargetContent,
    actor: Operator,
    session: web.Session,
    request: Request,
    response: Response,
    if_match: web.IfMatch = None,
) -> TargetResponse:
    """Change a target, from the next news on; what waits to be delivered goes to its new address."""
    replaced = await service.replace(session, id, content, if_match, actor, request.app.state.sender.targets)
    response.headers["ETag"] = etag(replaced.revision)
    return replaced


@router.delete("/{id}", status_code=204)
async def delete(id: UUID, actor: Operator, session: web.Session, if_match: web.IfMatch = None) -> None:
    """Tell it nothing more, of what waits to be delivered neither."""
    await service.delete(session, id, if_match)


@router.post("/{id}/test")
async def test(id: UUID, actor: Operator, session: web.ReadSession, request: Request) -> DeliveryTest:
    """Send it a message now, and tell what its receiver answers."""
    target = await service.one(session, id)
    await session.close()  # before the receiver is asked, which takes seconds
    state = request.app.state
    return await service.test(target, state.sender, state.settings.external_url)


@router.get("/{id}/alerts")
async def alerts(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> AlertPage:
    """What goes on of what it is told of, silenced or not, and ends that are still to be told; the latest changed
    first."""
    return await service.alerts(session, id, skip, limit)


@router.get("/{id}/deliveries")
async def deliveries(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    state: DeliveryState | None = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> DeliveryPage:
    """Its messages and how they fared, the latest first; kept for a week after their end."""
    return await service.deliveries(session, id, state, skip, limit)


@router.post("/{id}/deliveries/{delivery_id}/retry")
async def retry(id: UUID, delivery_id: UUID, actor: Operator, session: web.Session) -> DeliveryResponse:
    """Try a message again now that is pending or dead, and for another day where that fails."""
    return await service.retry(session, id, delivery_id)


@silences.get("")
async def silences_page(
    actor: Viewer,
    session: web.ReadSession,
    state: SilenceState | None = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> SilencePage:
    """Silences, the latest first; kept for a week after their end."""
    return await service.silences(session, state, skip, limit)


@silences.post("", status_code=201, response_model=SilenceResponse)
async def silence(
    content: SilenceContent, actor: OnCall, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Tell nobody of what matches for a while. What goes on when it ends is told then."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    made = await service.silence(session, content, actor)
    return await claimed.keep(web.json_response(made.model_dump_json().encode(), 201))


@silences.delete("/{id}", status_code=204)
async def end_silence(id: UUID, actor: OnCall, session: web.Session) -> None:
    """End a silence now."""
    await service.end_silence(session, id)
