"""What the baselines API takes and answers."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, WithJsonSchema, model_validator

from plumbline_common.schemas import Name, RequirementStatus, Schema, Storable, Team
from plumbline_requirements.baselines.rules import LARGEST
from plumbline_requirements.history.schemas import FieldChange
from plumbline_requirements.listing.schemas import Label


class ItemContent(Schema):
    """One revision of one requirement."""

    requirement_id: UUID
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]


class Selection(Schema):
    """The requirements that match all of what is given, each at its revision in force, else at its present one."""

    service: Name | None = None
    owner_team: Team | None = None
    status: RequirementStatus | None = None
    """The state of the revision that is taken."""
    label: Label | None = None
    """`name=value`, or `name` for any value."""


# Not `list[ItemContent]`: the router validates so many in slices, between which others are served.
Items = Annotated[
    list[Any],
    Field(min_length=1, max_length=LARGEST),
    WithJsonSchema({"type": "array", "items": ItemContent.model_json_schema(), "minItems": 1, "maxItems": LARGEST}),
]


class BaselineContent(Schema):
    """Exactly one of `items` and `select` says which revisions."""

    name: Name
    description: Annotated[str, StringConstraints(max_length=20_000), Storable] = ""
    team: Team | None = None
    items: Items | None = None
    select: Selection | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.items is None) == (self.select is None):
            raise ValueError("a baseline takes exactly one of items and select")
        return self


class BaselineResponse(Schema):
    id: UUID
    name: str
    description: str
    team: str | None
    size: int
    """How many revisions it holds."""
    created_at: AwareDatetime
    created_by: str


class BaselinePage(Schema):
    items: list[BaselineResponse]
    total: int


class BaselineItemView(Schema):
    requirement_id: UUID
    key: str
    revision: int
    title: str
    status: str
    """The state at that revision."""


class BaselineItemPage(Schema):
    items: list[BaselineItemView]
    total: int


class ChangedItem(Schema):
    """A requirement that both baselines hold, at different revisions."""

    requirement_id: UUID
    key: str
    from_revision: int = Field(serialization_alias="from")
    to_revision: int = Field(serialization_alias="to")
    changes: list[FieldChange]


class DifferenceTotals(Schema):
    added: int
    removed: int
    changed: int


class BaselineDifference(Schema):
    """What leads from one baseline to another; each list is one page of what `totals` counts."""

    from_baseline: UUID = Field(serialization_alias="from")
    to_baseline: UUID = Field(serialization_alias="to")
    added: list[BaselineItemView]
    removed: list[BaselineItemView]
    changed: list[ChangedItem]
    totals: DifferenceTotals
