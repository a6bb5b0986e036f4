"""What the OpenSLO API takes and answers."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import Schema

SharedKind = Literal["AlertCondition", "AlertNotificationTarget", "AlertPolicy", "DataSource", "SLI", "Service"]
AnyKind = SharedKind | Literal["SLO"]
Which = Literal["present", "in_force"]


class SharedObject(Schema):
    """What SLOs refer to by kind and name."""

    kind: SharedKind
    name: str
    document: dict[str, Any]
    """The OpenSLO v1 object."""
    revision: int
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str


class SharedObjectPage(Schema):
    items: list[SharedObject]
    total: Annotated[int, Field(ge=0)]


class Place(Schema):
    """Where something stands in the text. `line` and `column` count from 1; `pointer` is of the document."""

    line: int
    column: int
    document: int
    pointer: str
    subject: str
    detail: str


class Named(Schema):
    id: UUID
    key: str
    title: str
    revision: int


class Difference(Schema):
    pointer: str
    before: Any
    after: Any


class ImportChange(Schema):
    kind: AnyKind
    name: str
    action: Literal["created", "updated", "unchanged"]
    requirement: Named | None = None
    """Which requirement has the SLO; None before a new one is written."""
    differences: list[Difference] = []
    """Of an object that was there before, the members that change."""
    because: str | None = None
    """Why an SLO changes that does not stand in the text in another way."""


class ImportResponse(Schema):
    dry_run: bool
    created: int
    updated: int
    unchanged: int
    changes: list[ImportChange]
    warnings: list[Place]
