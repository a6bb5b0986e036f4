"""What the feedback API takes and answers."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import Schema
from plumbline_search.searches.schemas import DocumentKind, Query


class Action(StrEnum):
    CLICKED = "clicked"
    """It was opened: it looked right."""
    ACCEPTED = "accepted"
    """It was what was looked for."""
    REJECTED = "rejected"
    """It was not."""


class FeedbackContent(Schema):
    query: Query
    """As it was asked."""
    kind: DocumentKind
    entity_id: UUID
    """Of the hit."""
    action: Action
    rank: Annotated[int, Field(ge=1, le=10_100)] | None = None
    """Of the hit in the answer, from 1."""


class FeedbackResponse(FeedbackContent):
    id: UUID
    at: AwareDatetime
    actor: str


class FeedbackPage(Schema):
    items: list[FeedbackResponse]
    total: int


class Judgement(Schema):
    """What all feedback on one hit of one query comes to."""

    query: str
    kind: DocumentKind
    entity_id: UUID
    grade: Annotated[int, Field(ge=0, le=2)]
    """2: accepted, 1: clicked, 0: rejected. Of several the latest that accepts or rejects, else clicked."""


class JudgementPage(Schema):
    items: list[Judgement]
    total: int
