"""Hooks, and what is made of their deliveries."""

import logging
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.deployment_hooks import deliveries, repository
from plumbline_analysis.deployment_hooks.deliveries import Delivery
from plumbline_analysis.deployment_hooks.schemas import (
    DeliveryResponse,
    GithubEvent,
    HookContent,
    HookFormat,
    HookPage,
    HookResponse,
    Outcome,
)
from plumbline_analysis.deployments import service as deployments
from plumbline_analysis.models import DeploymentHook
from plumbline_common import db, problems
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.secret_store import NoSecret, SecretStore

log = logging.getLogger(__name__)

PATH = "/api/v1/deployment-hooks"
MOST_HOOKS = 1000


async def page(session: AsyncSession, service: str | None, skip: int, limit: int, external_url: str) -> HookPage:
    rows, total = await repository.page(session, service, skip, limit)
    return HookPage(items=[_shown(row, external_url) for row in rows], total=total)


async def one(session: AsyncSession, id: UUID, external_url: str) -> HookResponse:
    return _shown(await repository.one(session, id), external_url)


async def create(session: AsyncSession, content: HookContent, actor: UserInfo, external_url: str) -> HookResponse:
    """Raises `TooManyHooks`."""
    if await repository.count(session) >= MOST_HOOKS:
        raise deliveries.TooManyHooks(f"there may be {MOST_HOOKS}")
    made = DeploymentHook(
        id=db.new_id(), created_at=datetime.now(UTC), created_by=actor.subject, **content.model_dump(mode="json")
    )
    session.add(made)
    await session.flush()
    return _shown(made, external_url)


async def delete(session: AsyncSession, id: UUID) -> None:
    """Raises `NotFound`."""
    await session.delete(await repository.one(session, id))


async def authentic(session: AsyncSession, store: SecretStore, id: UUID, delivery: Delivery) -> DeploymentHook:
    """The hook whose secret signed the delivery just now.

    Raises `Unsigned`, whether there is such a hook or not, and `StaleDelivery` where it was signed some time ago.
    """
    hook = await repository.find(session, id)
    format = HookFormat(hook.format) if hook else HookFormat.STANDARD
    try:
        # Where there is no hook the same is worked out, so that the time tells nothing either.
        secret = await store.read(hook.secret) if hook else secrets.token_urlsafe()
        fits = deliveries.is_signed(format, secret, delivery)
    except NoSecret as error:
        log.error("the deployment hook %s takes nothing: %s", id, error)
        fits = False
    if hook is None or not fits:
        raise deliveries.Unsigned("sign the body with the secret of the hook")
    deliveries.check_fresh(format, delivery, datetime.now(UTC))
    return hook


async def take(session: AsyncSession, hook: DeploymentHook, delivery: Delivery, ahead: timedelta) -> DeliveryResponse:
    """Record the deployment that a delivery tells of, once. Raises `Invalid` with the member at fault."""
    taken = await _taken(session, hook, delivery, ahead)
    await repository.note(session, hook.id, datetime.now(UTC), taken.outcome)
    return taken


async def _taken(
    session: AsyncSession, hook: DeploymentHook, delivery: Delivery, ahead: timedelta
) -> DeliveryResponse:
    known = deliveries.Hook(hook.service, hook.environments, GithubEvent(hook.github_event))
    try:
        content = deliveries.read(HookFormat(hook.format), known, delivery)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        detail = first["msg"].removeprefix("Value error, ")
        raise Invalid(detail, pointer=problems.pointer(first["loc"])) from None
    if isinstance(content, deliveries.Ignored):
        return DeliveryResponse(outcome=Outcome.IGNORED, reason=content.reason)
    recorded, is_new = await deployments.record_once(session, content, f"deployment-hook/{hook.id}", ahead)
    return DeliveryResponse(outcome=Outcome.RECORDED if is_new else Outcome.KNOWN, deployment_id=recorded.id)


def _shown(hook: DeploymentHook, external_url: str) -> HookResponse:
    members = {name: getattr(hook, name) for name in HookResponse.model_fields if name != "url"}
    return HookResponse.model_validate(members | {"url": f"{external_url}{PATH}/{hook.id}/deliveries"})
