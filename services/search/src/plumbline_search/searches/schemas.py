"""What a search asks and answers."""

import math
from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from plumbline_common.schemas import Name, Schema, Storable, Team
from plumbline_search.embedding.model_store import SIZES
from plumbline_search.searches.filters import Condition

Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), Storable]
"""Words in any language and order. `"these words"` must stand so, `-word` must not be there, `begin*` is a beginning.
Every other character is data."""


Component = Annotated[float, Field(ge=-1e6, le=1e6)]


class DocumentKind(StrEnum):
    REQUIREMENT = "requirement"
    ANOMALY = "anomaly"
    INCIDENT = "incident"
    RUNBOOK = "runbook"
    POSTMORTEM = "postmortem"
    LOG_TEMPLATE = "log_template"


class Leg(StrEnum):
    LEXICAL = "lexical"
    """BM25 over the words."""
    VECTOR = "vector"
    """Cosine of the meaning."""


class Fusion(Schema):
    """How the two legs become one ranking."""

    method: Literal["scores", "ranks"] = "scores"
    """`scores`: each leg's scores scaled to [0, 1] (min-max), weighed and added. `ranks`: reciprocal rank fusion."""
    lexical_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The vector leg weighs the rest."""


class SearchRequest(Schema):
    query: Query | None = None
    vector: Annotated[list[Component], Field(min_length=1, max_length=max(SIZES))] | None = None
    """What the vector leg looks for, where that is not the query: of the live index's model, of any length but 0."""
    legs: Annotated[list[Leg], Field(min_length=1, max_length=2)] | None = None
    """Both where nothing is said."""
    kinds: Annotated[list[DocumentKind], Field(min_length=1, max_length=20)] | None = None
    """Only documents of these kinds."""
    service: Name | None = None
    team: Team | None = None
    filter: Condition | None = None
    """What a hit must be besides: conditions on facets."""
    facets: Annotated[list[Name], Field(max_length=10)] = []
    """Count the documents that match the filters, by the values of these facets."""
    fusion: Fusion = Fusion()
    explain: bool = False
    """Say of each hit what its score is made of, and how the documents were selected. Takes a little longer."""
    skip: Annotated[int, Field(ge=0, le=10_000)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 50

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.query is None and self.vector is None:
            raise ValueError("one of query and vector must be given")
        if self.query is None and self.legs is not None and Leg.LEXICAL in self.legs:
            raise ValueError("the lexical leg needs a query")
        if self.vector is not None and math.hypot(*self.vector) < 1e-6:
            raise ValueError("vector must have a length of at least 0.000001")
        return self

    def uses(self, leg: Leg) -> bool:
        if leg is Leg.LEXICAL and self.query is None:
            return False
        return self.legs is None or leg in self.legs


class LegResult(Schema):
    score: float
    """In the leg's own measure: BM25, from 0; cosine, -1 to 1."""
    rank: int | None
    """From 1; null where the leg's best do not hold the document and its score was worked out for the fusion."""


class SearchLegs(Schema):
    """What each leg says of a hit; null where it does not match or the leg was not asked."""

    lexical: LegResult | None
    vector: LegResult | None


class Highlights(Schema):
    """HTML that is safe to show: text is escaped, and matches stand in `<mark>`."""

    title: str
    fragments: list[str]


class TermScore(Schema):
    term: str
    score: float


class FusionParts(Schema):
    """Their sum, cut to [0, 1], is the score."""

    lexical: float
    vector: float
    recency: float
    state: float


class HitExplanation(Schema):
    terms: list[TermScore]
    """What each term adds to the lexical leg's score."""
    parts: FusionParts | None
    """Null where one leg ranks alone."""
    passage_start: int | None
    """Where in the body the passage is that is nearest to the query, in characters; `passage_stop` is behind it."""
    passage_stop: int | None


SelectedBy = Literal["comparing", "codes", "codes, then comparing", "index", "index, then comparing"]


class SearchExplanation(Schema):
    index: int
    model: str
    analysis: int
    matching: int | None
    """How many documents match the filters, where these are few enough to be counted."""
    selected_by: SelectedBy | None
    """How the vector leg chose: by comparing the documents that match; by the codes of all passages in memory; by
    the database's index, where memory does not hold them; or by comparing after either had found too few. Null where
    it was not asked."""
    lexical_candidates: int
    vector_candidates: int


class SearchHit(Schema):
    kind: DocumentKind
    entity_id: UUID
    revision: int
    key: str | None
    title: str
    highlights: Highlights
    score: Annotated[float, Field(ge=0, le=1)]
    """Comparable within one answer only."""
    legs: SearchLegs
    service: str | None
    team: str | None
    state: str | None
    facets: dict[str, str | bool | int | float | list[str]]
    updated_at: AwareDatetime
    external_id: str | None
    """What its source calls it, of a runbook or postmortem."""
    url: str | None
    """Where it is kept."""
    explanation: HitExplanation | None
    """Where it was asked for."""


class Ended(Schema):
    """How an anomaly or an incident ended."""

    state: str | None
    at: AwareDatetime
    minutes: float | None
    """From its onset on."""


class SimilarDocument(Schema):
    kind: DocumentKind
    entity_id: UUID
    revision: int
    key: str | None
    title: str
    similarity: float
    """Cosine of the two nearest passages, 0.5 to 1."""
    shared_words: list[str]
    fragments: list[str]
    """Of the nearest passage: HTML that is safe to show, what is shared stands in `<mark>`."""
    suspected_duplicate: bool
    """Of two requirements: whether they say about the same."""
    ended: Ended | None
    """Of an anomaly or an incident that is over."""
    service: str | None
    team: str | None
    state: str | None
    facets: dict[str, str | bool | int | float | list[str]]
    updated_at: AwareDatetime
    external_id: str | None
    url: str | None


class SimilarPage(Schema):
    items: list[SimilarDocument]
    """The most similar first."""
    total: Annotated[int, Field(ge=0, le=200)]


class SearchFacetCount(Schema):
    value: str | bool | int | float
    count: int


class Suggestion(Schema):
    """What finds something where nothing was found."""

    without: Literal["kinds", "service", "team", "filter"]
    """The member of the request to leave out."""
    total: int
    total_is: Literal["exact", "at_least"]


class LeftOut(Schema):
    leg: Leg
    reason: str


class SearchTookMs(Schema):
    """Milliseconds by phase. Embedding and the lexical leg run at the same time. Where the same was asked a moment
    ago and nothing has changed since, the answer is given again: all are 0 then, but for the total."""

    embedding: float
    lexical: float
    vector: float
    """With the fusion."""
    documents: float
    highlights: float
    total: float


class SearchResponse(Schema):
    items: list[SearchHit]
    total: Annotated[int, Field(ge=0)]
    """How many documents match the filters; of the lexical leg alone, how many hold any of the words."""
    total_is: Literal["exact", "at_least"]
    facets: dict[str, list[SearchFacetCount]]
    """The most frequent values, at most 50 each."""
    corrections: dict[str, list[str]]
    """Where few match: words that no document holds, and the stems spelt alike that were looked for as well."""
    ignored: list[str]
    """Phrases that no document holds: their words were looked for all the same."""
    suggestions: list[Suggestion]
    """Where the filters leave nothing."""
    left_out: list[LeftOut]
    """Legs that could not be asked: the other one ranks alone."""
    explanation: SearchExplanation | None
    took_ms: SearchTookMs
