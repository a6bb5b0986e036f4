"""What the signal routes answer."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.schemas import Schema


class SignalResponse(Schema):
    """A time series that telemetry has brought, or (kind `indicator`) one that an SLO of a requirement judges."""

    id: UUID
    source: str
    metric: str
    unit: str
    kind: Kind
    temporality: Temporality
    monotonic: bool
    service: str | None
    resource: dict[str, str]
    attributes: dict[str, str]
    """The point's attributes and the resource's; a query may name any of them."""
    requirement_id: UUID | None
    slo: str | None
    aggregation: str | None
    first_seen: AwareDatetime
    last_seen: AwareDatetime | None


class SignalPage(Schema):
    items: list[SignalResponse]
    total: Annotated[int, Field(ge=0)]


class SeriesPoint(Schema):
    """One slice, named by its end. The band is empty where no detector watches or it is still learning."""

    time: AwareDatetime
    value: float | None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    score: float | None = None
    """1 is the threshold of the detector."""


class SeriesResponse(Schema):
    signal_id: UUID
    metric: str
    unit: str
    aggregation: str
    start: AwareDatetime
    end: AwareDatetime
    step_seconds: float
    points: list[SeriesPoint]
    """Slices without data are left out."""
