"""What the links API takes and answers."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, StringConstraints

from plumbline_common.schemas import Instant, RequirementStatus, Schema, Storable
from plumbline_requirements.links.rules import LinkType
from plumbline_requirements.requirements.schemas import Grounds

Note = Annotated[str, StringConstraints(max_length=2000), Storable]


class EvidenceResult(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Evidence(Schema):
    """What shows that the target is verified."""

    url: Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://[^\s/]+(/\S*)?$"), Storable] | None = (
        None
    )
    run: Annotated[str, StringConstraints(max_length=200), Storable] = ""
    """The test run, as its system names it."""
    result: EvidenceResult
    at: Instant


class LinkContent(Schema):
    source_id: UUID
    target_id: UUID
    type: LinkType
    note: Note = ""
    evidence: Evidence | None = None
    """Of a link that verifies."""


class LinkPatch(Schema):
    """A JSON Merge Patch (RFC 7396)."""

    note: Note | None = None
    evidence: Evidence | None = None


class ClearanceContent(Schema):
    reason: Grounds
    """Why the link still holds, though the target has changed."""


class LinkEnd(Schema):
    """A requirement as a link shows it."""

    id: UUID
    key: str
    title: str
    status: RequirementStatus
    revision: int
    owner_team: str | None
    service: str | None


class LinkResponse(Schema):
    id: UUID
    type: LinkType
    source_id: UUID
    target_id: UUID
    source: LinkEnd | None
    """null where the requirement was deleted."""
    target: LinkEnd | None
    note: str
    evidence: Evidence | None
    suspect: bool
    """The target demands something else than when the link was last reviewed, or is gone."""
    suspect_since: AwareDatetime | None
    reviewed_fingerprint: str
    """What the target demanded then."""
    reviewed_revision: int
    revision: int
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str


class LinkPage(Schema):
    items: list[LinkResponse]
    total: int


class ImpactItem(Schema):
    """A requirement that a change reaches. Its other members are null where it was deleted."""

    id: UUID
    key: str | None
    title: str | None
    status: RequirementStatus | None
    owner_team: str | None
    service: str | None


class ImpactPage(Schema):
    items: list[ImpactItem]
    total: int


class MatrixLink(Schema):
    """One cell of a row: the other end and what links them."""

    id: UUID
    type: LinkType
    direction: Annotated[str, StringConstraints(pattern="^(to|from)$")]
    """`to`: the row's requirement is the source; `from`: it is the target."""
    other_id: UUID
    other_key: str | None
    other_title: str | None
    suspect: bool
    result: EvidenceResult | None
    """Of the evidence, on a link that verifies."""


class MatrixRow(Schema):
    requirement: LinkEnd
    links: list[MatrixLink]
    """At most 200; the links API pages through more."""


class MatrixPage(Schema):
    items: list[MatrixRow]
    total: int
