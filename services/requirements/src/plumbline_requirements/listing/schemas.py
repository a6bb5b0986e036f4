"""What the list of requirements takes and answers."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from plumbline_common.schemas import (
    Instant,
    Name,
    Priority,
    RequirementStatus,
    RequirementType,
    Schema,
    Storable,
    Team,
    VerdictState,
)
from plumbline_requirements.listing.rules import Gap
from plumbline_requirements.requirements.schemas import RequirementResponse, Subject

FacetName = Literal["status", "type", "priority", "service", "owner_team"]
Key = Annotated[str, StringConstraints(pattern=r"^[Rr][Ee][Qq]-[1-9][0-9]{0,17}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=301), Storable]
Commas = Annotated[str, StringConstraints(max_length=500), Storable]
_FEW = Field(max_length=50)


class FilterQuery(Schema):
    """A filter that is given several times matches any of its values; each label must match."""

    q: Annotated[str, StringConstraints(max_length=200), Storable] = ""
    """Beginnings of words of the title, or a key."""
    id: Annotated[list[UUID], _FEW] = []
    key: Annotated[list[Key], _FEW] = []
    status: Annotated[list[RequirementStatus], _FEW] = []
    type: Annotated[list[RequirementType], _FEW] = []
    priority: Annotated[list[Priority], _FEW] = []
    service: Annotated[list[Name], _FEW] = []
    owner_team: Annotated[list[Team], _FEW] = []
    created_by: Annotated[list[Subject], _FEW] = []
    updated_by: Annotated[list[Subject], _FEW] = []
    reviewer: Annotated[list[Subject], _FEW] = []
    """Who was asked to review what is in review."""
    verdict: Annotated[list[VerdictState], _FEW] = []
    gap: Annotated[list[Gap], _FEW] = []
    """What it lacks: an SLI, an owner, verification (evidence that passed, by a link that is not suspect), or, where
    it is in force, a verdict on data that judges what is in force."""
    in_force: bool | None = None
    suspect: bool | None = None
    """Whether it has a link whose target changed since somebody said that it holds."""
    fingerprint: Annotated[list[Name], _FEW] = []
    label: Annotated[list[Label], _FEW] = []
    """`name=value`, or `name` for any value."""
    created_after: Instant | None = None
    created_before: Instant | None = None
    updated_after: Instant | None = None
    updated_before: Instant | None = None


class ListQuery(FilterQuery):
    """The query string of a list."""

    skip: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """How many to leave out; for deep pages use `cursor`."""
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str, StringConstraints(max_length=16_000)] | None = None
    """`next` of the page before; the other parameters must be the same."""
    sort: Commas = ""
    """Members, `-` for descending, such as `-updated_at,title`. The newest first where it is left out."""
    fields: Commas = ""
    """The members to answer, such as `key,title`; all where it is left out."""
    facets: Commas = ""
    """Counts by value, such as `status,service`: of what matches the other filters."""


class FacetCount(Schema):
    value: str | None
    count: int


class RequirementPage(Schema):
    items: list[RequirementResponse]
    total: int
    """Of all that match, on all pages."""
    next: str | None = None
    """The cursor of the next page, where this one is full."""
    facets: dict[str, list[FacetCount]] | None = None
