"""What the routes of hooks take and answer."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from plumbline_common.schemas import Name, Schema
from plumbline_common.secret_store import SecretName


class HookFormat(StrEnum):
    GITHUB = "github"
    STANDARD = "standard"
    """A deployment as JSON, signed as Standard Webhooks are."""


class GithubEvent(StrEnum):
    DEPLOYMENT_STATUS = "deployment_status"
    """One of the state `success`: the version serves."""
    DEPLOYMENT = "deployment"
    """The deployment was asked for. For who sends no status."""


class HookContent(Schema):
    service: Name
    """`service.name` of what is deployed."""
    format: HookFormat
    secret: SecretName
    """The name of the secret that its sender signs with."""
    environments: Annotated[list[Name], Field(max_length=50)] = []
    """Only of these is told; empty: of all."""
    github_event: GithubEvent = GithubEvent.DEPLOYMENT_STATUS
    """Which of GitHub's events records a deployment."""


class Outcome(StrEnum):
    RECORDED = "recorded"
    KNOWN = "known"
    """It was recorded before."""
    IGNORED = "ignored"
    """Nothing was deployed that this hook tells of."""


class HookResponse(HookContent):
    id: UUID
    url: str
    """Where deliveries go, by POST; without `PLUMBLINE_ANALYSIS_EXTERNAL_URL` the path alone."""
    created_at: datetime
    created_by: str
    last_delivery_at: datetime | None
    """Of those that were signed by its secret."""
    last_outcome: Outcome | None


class HookPage(Schema):
    items: list[HookResponse]
    total: Annotated[int, Field(ge=0)]


class DeliveryResponse(Schema):
    """What became of a delivery. `reason` says why where it was ignored."""

    outcome: Outcome
    reason: str | None = None
    deployment_id: UUID | None = None
