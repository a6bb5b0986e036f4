"""What the incident routes take and answer."""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from plumbline_common.schemas import IncidentSnapshot, Schema, Storable

Said = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), Storable]


class IncidentPage(Schema):
    items: list[IncidentSnapshot]
    total: Annotated[int, Field(ge=0)]


class IncidentSort(StrEnum):
    NEWEST = "-onset"
    OLDEST = "onset"


class Resolution(Schema):
    reason: Said = ""


class CommentContent(Schema):
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), Storable]


class Split(Schema):
    anomaly_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)]


class Merge(Schema):
    into: UUID
    """The incident that goes on."""


class TimelineEntry(Schema):
    """What happened at `at`. `id` is that of the anomaly, deployment, requirement or incident that it tells of."""

    at: AwareDatetime
    kind: Literal[
        "deployment",
        "anomaly_began",
        "anomaly_ended",
        "verdict_changed",
        "opened",
        "acknowledged",
        "commented",
        "merged",
        "split",
        "resolved",
        "reopened",
    ]
    text: str
    actor: str | None
    service: str | None
    id: UUID | None


class Timeline(Schema):
    items: list[TimelineEntry]
    total: Annotated[int, Field(ge=0)]
