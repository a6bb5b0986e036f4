"""What the anomaly routes take and answer."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from plumbline_common.schemas import AnomalySnapshot, Label, Schema, Storable


class AnomalyPage(Schema):
    items: list[AnomalySnapshot]
    total: Annotated[int, Field(ge=0)]


class AnomalySort(StrEnum):
    NEWEST = "-onset"
    OLDEST = "onset"


class LabelContent(Schema):
    label: Label
    comment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), Storable] = ""


class LabelResponse(Schema):
    """What one person says of an anomaly."""

    anomaly_id: UUID
    label: Label
    comment: str
    labelled_at: AwareDatetime
    labelled_by: str


class LabelPage(Schema):
    items: list[LabelResponse]
    total: Annotated[int, Field(ge=0)]
