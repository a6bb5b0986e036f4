"""What a search asks and answers."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from plumbline_common.schemas import Name, Schema, Storable, Team

Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), Storable]
"""Words in any language and order. There is no syntax: every character is data."""


class DocumentKind(StrEnum):
    REQUIREMENT = "requirement"
    ANOMALY = "anomaly"
    INCIDENT = "incident"
    RUNBOOK = "runbook"
    POSTMORTEM = "postmortem"
    LOG_TEMPLATE = "log_template"


class SearchRequest(Schema):
    query: Query
    kinds: Annotated[list[DocumentKind], Field(min_length=1, max_length=20)] | None = None
    """Only documents of these kinds."""
    service: Name | None = None
    team: Team | None = None
    skip: Annotated[int, Field(ge=0, le=10_000)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class SearchLegs(Schema):
    """What each leg says of a hit in its own measure; null where the leg did not find it."""

    lexical: float | None
    """PostgreSQL's ts_rank_cd, from 0."""
    vector: float | None
    """Cosine of query and document, -1 to 1."""


class SearchHit(Schema):
    kind: DocumentKind
    entity_id: UUID
    revision: int
    key: str | None
    title: str
    snippet: str
    """HTML that is safe to show: text is escaped, and matches stand in `<mark>`."""
    score: Annotated[float, Field(ge=0, le=1)]
    """Comparable within one answer only."""
    legs: SearchLegs
    service: str | None
    team: str | None
    state: str | None
    updated_at: AwareDatetime


class SearchTookMs(Schema):
    """Milliseconds by phase. Embedding and the lexical leg run at the same time."""

    embedding: float
    lexical: float
    vector: float
    fusion: float
    documents: float
    total: float


class SearchResponse(Schema):
    items: list[SearchHit]
    total: Annotated[int, Field(ge=0)]
    """How many hits paging can reach: the best of each leg, at most 200."""
    took_ms: SearchTookMs
