"""What the routes of notification targets and silences take and answer."""

import ipaddress
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from plumbline_analysis.notifications.alerts import EventName
from plumbline_common.schemas import Instant, Name, Schema, Severity, SloName, Storable, Team
from plumbline_common.secret_store import SecretName

DAY = 86_400
_RESERVED = {
    "connection", "content-encoding", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding",
    "upgrade", "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp",
}  # fmt: skip


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must have a port from 1 to 65535, if any") from None
    if not host or port == 0:
        raise ValueError("must be an address such as https://chat.example.org/hooks/sre")
    if parts.username is not None or "#" in url:
        raise ValueError("must have no user and no fragment; credentials are named as secrets in headers")
    if ":" in host:
        ipaddress.IPv6Address(host)
    return url


def _header(name: str) -> str:
    if name.lower() in _RESERVED:
        raise ValueError(f"{name} is written by Plumbline itself")
    return name


Address = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s<>\"\\^`{|}]+$", max_length=2000),
    Storable,
    AfterValidator(_address),
]
HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"), AfterValidator(_header)
]
LabelName = Annotated[str, StringConstraints(pattern=r"^([a-zA-Z_][a-zA-Z0-9_]{0,99}|\.\.\.)$")]

ALL_EVENTS: list[EventName] = [
    "incident.opened",
    "incident.updated",
    "incident.closed",
    "objective.burning",
    "objective.exhausted",
    "objective.recovered",
    "verdict.changed",
]
_USUAL: list[EventName] = [each for each in ALL_EVENTS if each not in ("incident.updated", "verdict.changed")]


class TargetContent(Schema):
    """An OpenSLO AlertNotificationTarget that is reached by webhook. Empty filters let all through."""

    name: SloName
    """`metadata.name`: how alert policies name it."""
    url: Address
    format: Literal["alertmanager", "plumbline"] = "plumbline"
    enabled: bool = True
    events: Annotated[list[EventName], Field(min_length=1, max_length=len(ALL_EVENTS))] = _USUAL
    """What is news to it. It is told of the end of nothing that it was not told of."""
    services: Annotated[list[Name], Field(max_length=100)] = []
    teams: Annotated[list[Team], Field(max_length=100)] = []
    requirement_ids: Annotated[list[UUID], Field(max_length=100)] = []
    severities: Annotated[list[Severity], Field(max_length=3)] = []
    only_named: bool = False
    """Only of the objectives of SLOs whose alert policies name it."""
    send_resolved: bool = True
    group_by: Annotated[list[LabelName], Field(max_length=20)] = ["service"]
    """Labels; `...` groups by all of them, `[]` puts all into one."""
    group_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    """From the first news of a group to its first message."""
    group_interval_seconds: Annotated[int, Field(ge=1, le=DAY)] = 300
    """Between messages of a group that has news."""
    repeat_interval_seconds: Annotated[int, Field(ge=60, le=30 * DAY)] = 4 * 3600
    """Between messages of a group that has none and goes on."""
    headers: Annotated[dict[HeaderName, SecretName], Field(max_length=20)] = {}
    """Such as Authorization: each value is a secret's."""
    secret: SecretName | None = None
    """The key of the signature (Standard Webhooks); without one, messages bear none."""

    @model_validator(mode="after")
    def _repeats_later(self) -> Self:
        if self.repeat_interval_seconds < self.group_interval_seconds:
            raise ValueError("repeat_interval_seconds must not be less than group_interval_seconds")
        return self


class TargetResponse(TargetContent):
    id: UUID
    disabled_reason: str | None
    """Why Plumbline itself disabled it."""
    revision: int
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str


class TargetPage(Schema):
    items: list[TargetResponse]
    total: Annotated[int, Field(ge=0)]


class AlertState(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"
    """It is over, and that is still to be told."""
    SILENCED = "silenced"
    """It was when its group was last looked at, whether it goes on or not."""


class AlertResponse(Schema):
    fingerprint: str
    group_key: str
    state: AlertState
    severity: Severity
    summary: str
    labels: dict[str, str]
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None
    told: bool
    """Whether the target has been sent its latest news."""


class AlertPage(Schema):
    items: list[AlertResponse]
    total: Annotated[int, Field(ge=0)]


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """It was tried for a day, or the receiver is gone."""


class DeliveryResponse(Schema):
    id: UUID
    """The `webhook-id`, the same in each try."""
    target_id: UUID
    group_key: str
    state: DeliveryState
    alerts: Annotated[int, Field(ge=1)]
    attempts: Annotated[int, Field(ge=0)]
    last_status: int | None
    """Of the receiver's last answer."""
    last_error: str | None
    next_try: AwareDatetime | None
    created_at: AwareDatetime
    ended_at: AwareDatetime | None


class DeliveryPage(Schema):
    items: list[DeliveryResponse]
    total: Annotated[int, Field(ge=0)]


class DeliveryTest(Schema):
    """What the receiver made of a message just now."""

    delivered: bool
    status: int | None
    error: str | None
    seconds: float


class Matchers(Schema):
    """All that is given must hold of an alert, and of all the services, teams and requirements that it tells of."""

    service: Name | None = None
    team: Team | None = None
    requirement_id: UUID | None = None
    severity: Severity | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("must name a service, a team, a requirement or a severity")
        return self


class SilenceContent(Schema):
    matchers: Matchers
    starts_at: Instant | None = None
    """Now where it is not given."""
    ends_at: Instant
    comment: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), Storable]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.starts_at is not None and self.ends_at <= self.starts_at:
            raise ValueError("ends_at must be after starts_at")
        return self


class SilenceState(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


class SilenceResponse(Schema):
    id: UUID
    state: SilenceState
    matchers: Matchers
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    comment: str
    created_at: AwareDatetime
    created_by: str


class SilencePage(Schema):
    items: list[SilenceResponse]
    total: Annotated[int, Field(ge=0)]
