"""What the coverage API takes and answers."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import RequirementStatus, Schema
from plumbline_requirements.listing.rules import Gap
from plumbline_requirements.listing.schemas import FacetName, FilterQuery

SETTLED = (RequirementStatus.REJECTED, RequirementStatus.RETIRED)
"""What nobody is held to: counted only where it is asked for by `status`."""


class CoverageFilter(FilterQuery):
    """Which requirements to count: as in the list; without `status` all but rejected and retired ones."""

    by: FacetName = "service"
    """What to group by."""


class CoverageQuery(CoverageFilter):
    skip: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class ReportQuery(CoverageFilter):
    format: Literal["html", "markdown"] = "html"


class Counts(Schema):
    """Of some requirements."""

    total: int
    in_force: int
    complete: int
    """How many lack nothing."""
    without: dict[Gap, int]
    """How many have each gap; `verdict` is one of those in force only."""


class Group(Counts):
    value: str | None


class CoveragePage(Schema):
    """The groups with most gaps first."""

    at: AwareDatetime
    whole: Counts
    items: list[Group]
    total: int


class UnrequiredService(Schema):
    """A service that OpenSLO's objects name and that no requirement has."""

    name: str
    display_name: str | None
    description: str | None


class UnrequiredServicePage(Schema):
    items: list[UnrequiredService]
    total: int


class Incomplete(Schema):
    """A requirement that lacks something."""

    key: str
    title: str
    service: str | None
    owner_team: str | None
    in_force: bool
    gaps: list[Gap]
