"""What the adjustments API takes and answers."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from plumbline_common.openslo.objects import check_zone
from plumbline_common.schemas import AdjustmentCategory, Instant, Name, Period, Schema, Storable, Team
from plumbline_requirements.consents.schemas import Consented
from plumbline_requirements.requirements.schemas import Grounds

Length = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,6}[smhdw]$")]
"""OpenSLO's duration shorthand, and seconds: 30m, 2h, 1d. A day is 24 hours."""
Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_zone)]


class AdjustmentContent(Schema):
    """Times that burn no error budget, of some requirements or of a team's requirements of one service."""

    requirement_ids: Annotated[list[UUID], Field(max_length=100)] = []
    service: Name | None = None
    """Instead of `requirement_ids`: those that `team` owns of this service, whenever they come."""
    team: Team | None = None
    """With `service`. An admin may leave it out: then all of the service, whoever owns them."""
    category: AdjustmentCategory
    reason: Grounds
    starts_at: Instant
    """Of the first window; at most 366 days ago."""
    duration: Length
    """Of each window; at most 31 days."""
    recurrence: Annotated[str, StringConstraints(max_length=500), Storable] = ""
    """RFC 5545's RRULE with COUNT or UNTIL, such as `FREQ=WEEKLY;BYDAY=SU;COUNT=10`; once where it is left out."""
    time_zone: Zone = "UTC"
    """In whose wall-clock time it recurs, by IANA's name."""

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if bool(self.requirement_ids) == (self.service is not None):
            raise ValueError("an adjustment is of requirement_ids or of a service")
        if self.team is not None and self.service is None:
            raise ValueError("team goes with service: requirements have owners of their own")
        if len(set(self.requirement_ids)) < len(self.requirement_ids):
            raise ValueError("requirement_ids must be distinct")
        return self


class AdjustmentResponse(Consented):
    id: UUID
    requirement_ids: list[UUID]
    service: str | None
    team: str | None
    category: AdjustmentCategory
    reason: str
    starts_at: AwareDatetime
    duration: str
    recurrence: str
    time_zone: str
    active: bool
    """Approved, and one of its windows is open."""
    count: int
    """How many windows there are; those that touch are one."""
    next_start: AwareDatetime | None
    """Of the next window that has not begun."""


class AdjustmentDetail(AdjustmentResponse):
    windows: list[Period]
    """In UTC. Those of a revoked one end with the revocation."""


class AdjustmentPage(Schema):
    items: list[AdjustmentResponse]
    total: int
