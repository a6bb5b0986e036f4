"""What a delivery means: whether it is its sender's, and which deployment it tells of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from plumbline_analysis import signing
from plumbline_analysis.deployment_hooks.schemas import GithubEvent, HookFormat
from plumbline_analysis.deployments.schemas import DeploymentContent
from plumbline_common.errors import Conflict, Invalid, Unauthenticated

TOLERANCE_SECONDS = 300.0
"""So far from now a timestamp may be: what Standard Webhooks recommends."""
LARGEST_BYTES = 256 * 1024
"""Of a body: a deployment of GitHub carries a payload of 64 KiB at most."""
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_VERSION = re.compile(r"(?:refs/tags/)?(v?[0-9]+\.[0-9]+\S*)", re.ASCII)
_LINK = re.compile(r"https?://[^\s<>\"]{1,1990}")


class Unsigned(Unauthenticated):
    """Said alike of a hook that is not there: nobody learns which there are."""

    slug = "unsigned-delivery"
    title = "The delivery is not signed by the secret of a hook"


class StaleDelivery(Unauthenticated):
    slug = "stale-delivery"
    title = "The delivery was signed too long ago, or ahead"


class TooManyHooks(Conflict):
    slug = "too-many-deployment-hooks"
    title = "There are as many deployment hooks as there may be"


@dataclass(frozen=True)
class Delivery:
    """A request as it came; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


class Hook(NamedTuple):
    """What there is to know of a hook to read its deliveries."""

    service: str
    environments: list[str]
    github_event: GithubEvent


class Ignored(NamedTuple):
    reason: str


def is_signed(format: HookFormat, secret: str, delivery: Delivery) -> bool:
    """Raises `NoSecret` where the secret can't be a key."""
    if format == HookFormat.GITHUB:
        signature = delivery.header("x-hub-signature-256")
        return signing.is_signed_by_github(secret.encode(), signature, delivery.body)
    id, timestamp = (delivery.header(f"webhook-{name}") for name in ("id", "timestamp"))
    signatures = delivery.header("webhook-signature")
    fits = signing.is_signed(signing.key_of(secret), signatures, id, timestamp, delivery.body)
    return fits and bool(_ID.fullmatch(id) and _SECONDS.fullmatch(timestamp))


def check_fresh(format: HookFormat, delivery: Delivery, now: datetime) -> None:
    """Raise `StaleDelivery` for a timestamp that was signed and is too far from `now`.

    GitHub signs no time. A delivery of it that comes again tells of the same deployment, which is recorded once.
    """
    if format == HookFormat.STANDARD:
        off = now.timestamp() - int(delivery.header("webhook-timestamp"))
        if abs(off) > TOLERANCE_SECONDS:
            raise StaleDelivery(f"webhook-timestamp is {off:.0f} s past; at most {TOLERANCE_SECONDS:g} s are taken")


def read(format: HookFormat, hook: Hook, delivery: Delivery) -> DeploymentContent | Ignored:
    """The deployment that is told of. Raises `Invalid`, and pydantic's `ValidationError` with the member at fault."""
    found = _github(hook, delivery) if format == HookFormat.GITHUB else _standard(hook, delivery)
    if isinstance(found, DeploymentContent) and hook.environments and found.environment not in hook.environments:
        return Ignored(f"the hook is not for the environment {found.environment}")
    return found


_MEMBERS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def _standard(hook: Hook, delivery: Delivery) -> DeploymentContent:
    """The body is that of `POST /deployments`; without an id of its own it has the delivery's."""
    given = _MEMBERS.validate_json(delivery.body)
    usual = {"service": hook.service, "external_id": delivery.header("webhook-id")}
    content = DeploymentContent.model_validate(usual | given)
    if content.service != hook.service:
        raise Invalid(f"this hook is of the service {hook.service}", pointer="/service")
    if content.external_id is None:
        return content.model_copy(update={"external_id": usual["external_id"]})
    return content


# --- GitHub -----------------------------------------------------------------------------------------------
# https://docs.github.com/en/webhooks/webhook-events-and-payloads#deployment_status


class _Deployment(BaseModel):
    id: int
    sha: str
    ref: str
    environment: str
    description: str | None = None
    created_at: datetime
    payload: Any = None


class _Status(BaseModel):
    state: str
    environment: str | None = None
    """Where a status moved the deployment to another one."""
    description: str | None = None
    log_url: str | None = None
    target_url: str | None = None
    created_at: datetime


class _Told(BaseModel):
    deployment: _Deployment
    deployment_status: _Status | None = None


def _github(hook: Hook, delivery: Delivery) -> DeploymentContent | Ignored:
    event = delivery.header("x-github-event")
    if event != hook.github_event:
        said = f"the event {event}" if re.fullmatch(r"[a-z_]{1,50}", event) else "no event"
        return Ignored(f"{said}: the hook is for {hook.github_event}")
    told = _Told.model_validate_json(delivery.body)
    deployment, status = told.deployment, told.deployment_status
    if event == GithubEvent.DEPLOYMENT_STATUS:
        if status is None:
            raise Invalid("is missing", pointer="/deployment_status")
        if status.state != "success":
            return Ignored("nothing is deployed until the state is success")
    links = (status.log_url, status.target_url) if status else ()
    return DeploymentContent(
        service=hook.service,
        version=_version(deployment),
        environment=(status and status.environment) or deployment.environment,
        deployed_at=status.created_at if status else deployment.created_at,
        url=next((link for link in links if link and _LINK.fullmatch(link)), None),
        description=(status and status.description) or deployment.description or "",
        external_id=f"github/{deployment.id}",
    )


def _version(deployment: _Deployment) -> str:
    """What the deployment's own payload calls `version`; a ref such as v1.4.2; else the commit."""
    if isinstance(deployment.payload, dict) and isinstance(version := deployment.payload.get("version"), str):
        return version
    named = _VERSION.fullmatch(deployment.ref)
    return named[1] if named else deployment.sha
