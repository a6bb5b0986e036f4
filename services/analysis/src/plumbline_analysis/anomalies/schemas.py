"""What the anomaly routes answer."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from plumbline_common.schemas import AnomalySnapshot, Schema


class AnomalyPage(Schema):
    items: list[AnomalySnapshot]
    total: Annotated[int, Field(ge=0)]


class AnomalySort(StrEnum):
    NEWEST = "-onset"
    OLDEST = "onset"
