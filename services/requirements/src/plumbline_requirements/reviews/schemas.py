"""What the reviews API takes and answers."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import RequirementStatus, Schema
from plumbline_requirements.requirements.schemas import Reason


class Decision(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    REQUEST_CHANGES = "request_changes"
    COMMENT = "comment"


class ReviewContent(Schema):
    decision: Decision
    comment: Reason = ""
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """The revision that was read: one that has changed since is not decided on."""


class ReviewView(Schema):
    id: UUID
    requirement_id: UUID
    revision: int
    reviewer: str
    decision: Decision
    comment: str
    at: AwareDatetime


class ReviewResult(ReviewView):
    status: RequirementStatus
    """The state of the requirement after this review."""
    approvals: int
    required_approvals: int


class ReviewPage(Schema):
    items: list[ReviewView]
    total: int


class PolicyContent(Schema):
    required_approvals: Annotated[int, Field(ge=1, le=10)]


class PolicyView(PolicyContent):
    team: str
    revision: int
    updated_at: AwareDatetime
    updated_by: str


class PolicyPage(Schema):
    items: list[PolicyView]
    total: int
