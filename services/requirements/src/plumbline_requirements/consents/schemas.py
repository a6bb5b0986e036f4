"""What decides on what somebody asked for, and what is told of it."""

from enum import StrEnum

from pydantic import AwareDatetime

from plumbline_common.schemas import Schema
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.requirements.schemas import Grounds, Reason


class Decision(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class DecisionContent(Schema):
    decision: Decision
    comment: Reason = ""


class RevocationContent(Schema):
    reason: Grounds


class Consented(Schema):
    """The members that all have which one asks for and another approves."""

    status: Status
    """`expired` once its time is over."""
    revision: int
    requested_at: AwareDatetime
    requested_by: str
    decided_at: AwareDatetime | None
    decided_by: str | None
    decision_comment: str
    revoked_at: AwareDatetime | None
    revoked_by: str | None
    revocation_reason: str
