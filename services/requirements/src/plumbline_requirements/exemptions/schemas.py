"""What the exemptions API takes and answers."""

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime

from plumbline_common.schemas import Instant, Schema
from plumbline_requirements.exemptions.rules import Status
from plumbline_requirements.requirements.schemas import Grounds, Reason


class Decision(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class StatusFilter(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    ACTIVE = "active"
    """Approved and within its time."""
    REJECTED = "rejected"
    REVOKED = "revoked"
    EXPIRED = "expired"


class ExemptionContent(Schema):
    requirement_id: UUID
    reason: Grounds
    starts_at: Instant
    expires_at: Instant
    """At most 366 days after `starts_at`, and not past."""


class DecisionContent(Schema):
    decision: Decision
    comment: Reason = ""


class RevocationContent(Schema):
    reason: Grounds


class ExemptionResponse(Schema):
    id: UUID
    requirement_id: UUID
    reason: str
    starts_at: AwareDatetime
    expires_at: AwareDatetime
    status: Status
    """`expired` once the time of one that is requested or approved is over."""
    active: bool
    """Approved and within its time."""
    revision: int
    requested_at: AwareDatetime
    requested_by: str
    decided_at: AwareDatetime | None
    decided_by: str | None
    decision_comment: str
    revoked_at: AwareDatetime | None
    revoked_by: str | None
    revocation_reason: str


class ExemptionPage(Schema):
    items: list[ExemptionResponse]
    total: int
