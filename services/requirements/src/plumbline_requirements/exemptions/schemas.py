"""What the exemptions API takes and answers."""

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime

from plumbline_common.schemas import Instant, Schema
from plumbline_requirements.consents.schemas import Consented
from plumbline_requirements.requirements.schemas import Grounds


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


class ExemptionResponse(Consented):
    id: UUID
    requirement_id: UUID
    reason: str
    starts_at: AwareDatetime
    expires_at: AwareDatetime
    active: bool
    """Approved and within its time."""


class ExemptionPage(Schema):
    items: list[ExemptionResponse]
    total: int
