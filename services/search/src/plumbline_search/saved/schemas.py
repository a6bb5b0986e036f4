"""What the saved searches API takes and answers."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, model_validator

from plumbline_common.schemas import Name, Schema, Team
from plumbline_search.searches.filters import Condition
from plumbline_search.searches.schemas import DocumentKind, Query


class SavedSearchContent(Schema):
    team: Team
    """Whose it is: only what this team may read is told."""
    name: Name
    """Unique in the team."""
    query: Query | None = None
    """A document must hold every word, in any form; phrases, exclusions and beginnings as in a search."""
    kinds: Annotated[list[DocumentKind], Field(min_length=1, max_length=20)] | None = None
    service: Name | None = None
    filter: Condition | None = None

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not any((self.query, self.kinds, self.service, self.filter)):
            raise ValueError("one of query, kinds, service and filter must be given")
        return self


class SavedSearchResponse(SavedSearchContent):
    id: UUID
    created_at: AwareDatetime
    created_by: str


class SavedSearchPage(Schema):
    items: list[SavedSearchResponse]
    total: int
