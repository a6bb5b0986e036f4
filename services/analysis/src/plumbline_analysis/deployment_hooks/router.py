"""HTTP in, one service call."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.deployment_hooks import deliveries, service
from plumbline_analysis.deployment_hooks.schemas import DeliveryResponse, HookContent, HookPage, HookResponse
from plumbline_common import auth, idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.errors import TooLarge, UnsupportedMedia
from plumbline_common.schemas import Name

router = APIRouter(prefix=service.PATH, tags=["deployments"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Keeper = Annotated[UserInfo, Depends(require("editor", "operator"))]
_JSON = "application/json"
_HEADERS = ("X-Hub-Signature-256", "X-GitHub-Event", "webhook-id", "webhook-timestamp", "webhook-signature")
_SIGNED: dict[str, Any] = {
    "parameters": [
        {"in": "header", "name": name, "required": False, "schema": {"type": "string"}} for name in _HEADERS
    ],
    "requestBody": {"required": True, "content": {_JSON: {"schema": {"type": "object"}}}},
}


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> HookPage:
    """Hooks, by service. Their secrets are named, never shown."""
    return await service.page(session, service_name, skip, limit, _external_url(request))


@router.post("", status_code=201, response_model=HookResponse, responses={201: {"headers": web.LOCATION}})
async def create(
    content: HookContent, actor: Keeper, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Let the deployments of a service be told by webhook."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    made = await service.create(session, content, actor, _external_url(request))
    headers = {"Location": f"{router.prefix}/{made.id}"}
    return await claimed.keep(web.json_response(made.model_dump_json().encode(), 201, headers))


@router.get("/{id}")
async def read(id: UUID, actor: Viewer, session: web.ReadSession, request: Request) -> HookResponse:
    """One hook."""
    return await service.one(session, id, _external_url(request))


@router.delete("/{id}", status_code=204)
async def delete(id: UUID, actor: Keeper, session: web.Session) -> None:
    """Take no more of its deliveries. What it recorded stays."""
    await service.delete(session, id)


@router.post("/{id}/deliveries", dependencies=[Depends(auth.public)], openapi_extra=_SIGNED)
async def deliver(id: UUID, request: Request, reads: web.ReadSession, session: web.Session) -> DeliveryResponse:
    """A deployment as GitHub's `deployment_status` or `deployment`, or as `POST /deployments` takes it. It needs no
    token but the signature of the hook's secret, and may be told again."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise UnsupportedMedia(f"send {_JSON}, not {media_type[:100]!r}")
    body = await request.body()
    if len(body) > deliveries.LARGEST_BYTES:
        raise TooLarge(f"the body is larger than {deliveries.LARGEST_BYTES} bytes")
    delivery = deliveries.Delivery(request.headers, body)
    hook = await service.authentic(reads, request.app.state.secrets, id, delivery)
    ahead = timedelta(minutes=request.app.state.settings.future_limit_minutes)
    return await service.take(session, hook, delivery, ahead)


def _external_url(request: Request) -> str:
    url: str = request.app.state.settings.external_url
    return url
