"""What the routes of log templates answer."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from plumbline_common.schemas import LogTemplateSnapshot, Schema


class LogTemplatePage(Schema):
    items: list[LogTemplateSnapshot]
    total: Annotated[int, Field(ge=0)]


class LogTemplateSort(StrEnum):
    """A minus puts the largest or newest first."""

    LAST_SEEN = "last_seen"
    LAST_SEEN_DOWN = "-last_seen"
    FIRST_SEEN = "first_seen"
    FIRST_SEEN_DOWN = "-first_seen"
    COUNT = "count"
    COUNT_DOWN = "-count"
