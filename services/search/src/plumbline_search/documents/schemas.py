"""What the documents API takes and answers."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Discriminator, Field, StringConstraints, Tag, TypeAdapter, model_validator

from plumbline_common.schemas import Instant, Name, Schema, Storable, Team

MOST_CHARACTERS = 400_000
"""Of a body: what its passages can cover."""

Kind = Literal["runbook", "postmortem"]
"""The other kinds come by events."""
ExternalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@:+=-]{0,199}$")]
"""What the source calls it, such as a path in a repository."""
FacetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
FacetText = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
FacetValue = FacetText | bool | float | Annotated[list[FacetText], Field(max_length=50)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s<>\"]+$", max_length=2000), Storable]

_BUILT_IN = ("kind", "service", "team", "state", "updated_at")


class DocumentContent(Schema):
    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Storable] = ""
    """May be left out where there is a body."""
    body: Annotated[str, StringConstraints(max_length=MOST_CHARACTERS), Storable] = ""
    """Markdown. Headings begin passages, and a passage is read with the headings above it."""
    url: Url | None = None
    """Where it is kept."""
    service: Name | None = None
    team: Team | None = None
    """Whose it is: who changes it must be of this team."""
    state: Name | None = None
    facets: Annotated[dict[FacetName, FacetValue], Field(max_length=50)] = {}
    """What it is filtered by besides."""
    readers: Annotated[list[Team], Field(min_length=1, max_length=50)] | None = None
    """The teams that may find and read it; null: every viewer."""
    updated_at: Instant | None = None
    """When the source was changed; now where it is not given."""

    @model_validator(mode="after")
    def _says_something(self) -> "DocumentContent":
        if not self.title and not self.body.strip():
            raise ValueError("title or body must say something")
        if taken := self.facets.keys() & set(_BUILT_IN):
            raise ValueError(f"facets: {', '.join(sorted(taken))} is a member of the document itself")
        return self


class DocumentSummary(Schema):
    id: UUID
    kind: Kind
    external_id: str
    revision: int
    title: str
    url: str | None
    service: str | None
    team: str | None
    state: str | None
    facets: dict[str, Any]
    readers: list[str] | None
    updated_at: AwareDatetime


class DocumentResponse(DocumentSummary):
    body: str


class DocumentList(Schema):
    items: list[DocumentSummary]
    total: int


class PutLine(Schema):
    op: Literal["put"] = "put"
    kind: Kind
    external_id: ExternalId
    content: DocumentContent


class DeleteLine(Schema):
    op: Literal["delete"]
    kind: Kind
    external_id: ExternalId


def _op(value: Any) -> str:
    return "[delete]" if isinstance(value, dict) and value.get("op") == "delete" else "[put]"


LINE: TypeAdapter[PutLine | DeleteLine] = TypeAdapter(
    Annotated[Annotated[PutLine, Tag("[put]")] | Annotated[DeleteLine, Tag("[delete]")], Discriminator(_op)]
)


class LineResult(Schema):
    index: int
    """The place in the request, from 0."""
    status: int
    """What the line alone would have been answered: 200, 201, 204, or the status of `problem`."""
    result: Literal["created", "updated", "unchanged", "deleted"] | None = None
    external_id: str | None = None
    id: UUID | None = None
    revision: int | None = None
    problem: dict[str, Any] | None = None
    """RFC 9457, with pointers from the line on."""
