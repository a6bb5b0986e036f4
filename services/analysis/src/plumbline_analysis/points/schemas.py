"""The JSON push."""

from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from plumbline_analysis.sources.batch import MAX_ATTRIBUTE_VALUE, MAX_ATTRIBUTES, MAX_METRIC_NAME, MAX_UNIT
from plumbline_common.schemas import Name, Schema, Text

_Value = Annotated[Text, StringConstraints(max_length=MAX_ATTRIBUTE_VALUE)]
Metric = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_METRIC_NAME)]
Unit = Annotated[Text, StringConstraints(max_length=MAX_UNIT)]
Attributes = Annotated[dict[Name, _Value], Field(max_length=MAX_ATTRIBUTES)]


class PushedPoint(Schema):
    """One measurement of a gauge."""

    metric: Metric
    unit: Unit = ""
    """In UCUM's notation, as OpenTelemetry has it: s, By, 1, {request}."""
    attributes: Attributes = {}
    resource: Attributes = {}
    """What was measured; `service.name` among it."""
    time: AwareDatetime
    value: float


class PushRequest(Schema):
    points: Annotated[list[PushedPoint], Field(min_length=1, max_length=5_000)]


class RejectedPoint(Schema):
    index: int
    detail: str


class PushResponse(Schema):
    """A point that was there already counts as accepted: sending again is harmless."""

    accepted: Annotated[int, Field(ge=0)]
    rejected: list[RejectedPoint]
