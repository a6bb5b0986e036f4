"""The nouns that two services exchange. SLO members carry OpenSLO v1's names (camelCase on the wire)."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel


def _storable(text: str) -> str:
    # PostgreSQL stores neither U+0000 nor unpaired surrogates.
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode without unpaired surrogates") from None
    return text


Storable = AfterValidator(_storable)
"""Put it last, so that it sees what the constraints left."""
Text = Annotated[str, Storable]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time that someone sends: with its zone, and such that PostgreSQL can store it."""
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]
Team = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Storable]


class Schema(BaseModel):
    """The base of what travels: unknown members are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True, allow_inf_nan=False)


class OpenSloSchema(Schema):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


# --- Requirements ---------------------------------------------------------------------------------------


class RequirementStatus(StrEnum):
    DRAFT = "draft"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"

    @property
    def in_force(self) -> bool:
        """Whether production is held against a requirement in this state."""
        return self in (RequirementStatus.ACTIVE, RequirementStatus.DEPRECATED)


class RequirementType(StrEnum):
    AVAILABILITY = "availability"
    LATENCY = "latency"
    CORRECTNESS = "correctness"
    DURABILITY = "durability"
    CAPACITY = "capacity"
    SECURITY = "security"
    OPERABILITY = "operability"
    OTHER = "other"


class Priority(StrEnum):
    MUST = "must"
    SHOULD = "should"
    COULD = "could"


class BudgetingMethod(StrEnum):
    OCCURRENCES = "Occurrences"
    TIMESLICES = "Timeslices"
    """A slice of time is good or bad as a whole."""
    RATIO_TIMESLICES = "RatioTimeslices"
    """A slice of time counts by the good part of it, whether it saw much or little."""

    @property
    def of_time(self) -> bool:
        """Whether the budget is one of slices of time; else it is one of events."""
        return self is not BudgetingMethod.OCCURRENCES


Aggregation = Literal["mean", "min", "max", "sum", "last", "rate", "p50", "p90", "p95", "p99"]
"""How the points of one slice become one number. `rate` is per second; `pNN` needs a histogram."""

Operator = Literal["lte", "gte", "lt", "gt"]
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,6}[smhdw]$")]
"""OpenSLO's duration shorthand in the units that have a fixed length: 30s, 5m, 1h, 30d, 4w."""


class SignalQuery(OpenSloSchema):
    """Which stored points a metric source means: `spec` of a metricSource of type `Plumbline`."""

    metric: Name
    """OpenTelemetry's metric name, such as `http.server.request.duration`."""
    attributes: Annotated[
        dict[Name, Annotated[str, StringConstraints(max_length=1000), Storable]], Field(max_length=32)
    ] = {}
    """Resource and point attributes that must be equal; `service.name` among them."""
    aggregation: Aggregation = "mean"
    le: float | None = None
    """For a histogram: count only the observations less than or equal to this bound, in the metric's unit."""


class MetricSource(OpenSloSchema):
    type: Literal["Plumbline"] = "Plumbline"
    spec: SignalQuery


class MetricRef(OpenSloSchema):
    metric_source: MetricSource


class RatioMetric(OpenSloSchema):
    counter: bool = True
    good: MetricRef | None = None
    bad: MetricRef | None = None
    total: MetricRef

    @model_validator(mode="after")
    def _one_numerator(self) -> Self:
        if (self.good is None) == (self.bad is None):
            raise ValueError("ratioMetric takes exactly one of good and bad")
        return self


class Indicator(OpenSloSchema):
    threshold_metric: MetricRef | None = None
    ratio_metric: RatioMetric | None = None

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        if (self.threshold_metric is None) == (self.ratio_metric is None):
            raise ValueError("an indicator takes exactly one of thresholdMetric and ratioMetric")
        return self


class TimeWindow(OpenSloSchema):
    duration: Duration
    is_rolling: Literal[True] = True


class Objective(OpenSloSchema):
    display_name: Annotated[str, StringConstraints(max_length=200), Storable] = ""
    op: Operator | None = None
    value: float | None = None
    """The threshold of a thresholdMetric, in the metric's unit."""
    target: Annotated[float, Field(gt=0, lt=1)]
    """The fraction of events (Occurrences) or of slices (Timeslices, RatioTimeslices) that must be good."""
    time_slice_target: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the method Timeslices: the part of a slice that must be good; `target` where it is left out."""
    time_slice_window: Duration | None = None


class Slo(OpenSloSchema):
    """`metadata.name`, `metadata.displayName` and `spec` of an OpenSLO v1 SLO, flattened."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    display_name: Annotated[str, StringConstraints(max_length=200), Storable] = ""
    indicator: Indicator
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)]
    budgeting_method: BudgetingMethod = BudgetingMethod.OCCURRENCES
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _objectives_fit(self) -> Self:
        threshold = self.indicator.threshold_metric is not None
        for objective in self.objectives:
            if threshold and (objective.op is None or objective.value is None):
                raise ValueError("an objective on a thresholdMetric needs op and value")
            if not threshold and (objective.op is not None or objective.value is not None):
                raise ValueError("op and value belong to a thresholdMetric")
            if self.budgeting_method.of_time and objective.time_slice_window is None:
                raise ValueError(f"an objective of the method {self.budgeting_method} needs timeSliceWindow")
        return self


class RequirementSnapshot(Schema):
    """A requirement as it stands at one revision."""

    id: UUID
    key: str
    revision: int
    title: str
    description: str
    statement: str
    rationale: str
    type: RequirementType
    priority: Priority
    owner_team: str | None
    service: str | None
    slos: list[Slo]
    verification_method: str
    labels: dict[str, str]
    fingerprint: str
    """SHA-256 of what the requirement demands: equal when only bookkeeping changed."""
    status: RequirementStatus
    in_force: int | None = None
    """The revision that production is held against: this one, or an earlier one while a change of it is drafted."""
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str


# --- Analysis -------------------------------------------------------------------------------------------


class VerdictState(StrEnum):
    MET = "MET"
    AT_RISK = "AT_RISK"
    VIOLATED = "VIOLATED"
    NO_DATA = "NO_DATA"


class ObjectiveEvidence(Schema):
    """What one objective of one SLO came to over its window."""

    slo: str
    objective: int
    """The place of the objective in its SLO, from 0."""
    state: VerdictState
    target: float
    sli: float | None
    """The good fraction over the window; None without events."""
    good: float
    total: float
    budget_remaining: float | None
    """The part of the error budget that is left, 1 for all of it, below 0 when overspent."""
    burn_rate: float | None
    """Over the short alerting window: 1 spends the budget exactly within the SLO's window."""


class Verdict(Schema):
    """Production held against one revision of one requirement over one window."""

    requirement_id: UUID
    revision: int
    state: VerdictState
    previous: VerdictState | None
    window_start: AwareDatetime
    window_end: AwareDatetime
    objectives: list[ObjectiveEvidence]
    anomalies: list[UUID]
    reason: str


class AnomalyState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    FALSE_POSITIVE = "false_positive"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AnomalySnapshot(Schema):
    """A departure of one signal from its expected band."""

    id: UUID
    signal_id: UUID
    metric: str
    aggregation: str
    unit: str
    service: str | None
    attributes: dict[str, str]
    requirement_id: UUID | None
    requirement_revision: int | None
    state: AnomalyState
    severity: Severity
    direction: Literal["up", "down"]
    onset: AwareDatetime
    end: AwareDatetime | None
    peak_at: AwareDatetime
    peak_score: float
    """1 is the threshold of the detector."""
    value: float
    expected: float
    lower: float
    upper: float
    title: str
    revision: int
    """Grows with each change: an older one never overwrites a newer one."""


class Page(Schema):
    """What every list endpoint answers; parametrise `items` in a subclass."""

    items: list[Any]
    total: Annotated[int, Field(ge=0)]


def utc(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as every API and event writes it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
