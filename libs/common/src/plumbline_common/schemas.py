"""The nouns that two services exchange. SLO members carry OpenSLO v1's names (camelCase on the wire)."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)
from pydantic.alias_generators import to_camel

from plumbline_common.openslo import objects

T = TypeVar("T")


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


def _is_none(value: Any) -> bool:
    return value is None


def _all_storable(value: T) -> T:
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            _storable(each)
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
    return value


Given = Annotated[T | None, Field(exclude_if=_is_none)]
"""What is not written where it was not given, so that what does not use it stays as it was, to the last byte."""


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
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,6}[smhdwMQY]$")]
"""OpenSLO's duration shorthand, and seconds: 30s, 5m, 1h, 30d, 4w, 1M, 1Q, 1Y."""
_DAY = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "M": 30 * _DAY, "Q": 90 * _DAY, "Y": 365 * _DAY}


def seconds(duration: str) -> int:
    """How long a `Duration` is, with 30, 90 and 365 days for M, Q and Y, which a calendar alone knows better."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def _from_minutes(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 1e7 or (60 * value) % 1:
            raise ValueError("a number of minutes must be above 0 and come to whole seconds")
        return f"{value:.0f}m" if value % 1 == 0 else f"{60 * value:.0f}s"
    return value


SloName = Annotated[str, AfterValidator(objects.check_name)]
Labels = Annotated[objects.Labels, AfterValidator(_all_storable)]
Annotations = Annotated[objects.Annotations, AfterValidator(_all_storable)]
SloText = Annotated[str, StringConstraints(max_length=1050), Storable]


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
    metric_source_ref: Given[SloName] = None
    type: Literal["Plumbline"] = "Plumbline"
    spec: SignalQuery


class ForeignSource(OpenSloSchema):
    """A metric source of another tool: kept and written again, not measured."""

    metric_source_ref: Given[SloName] = None
    type: Given[Annotated[SloText, Field(min_length=1)]] = None
    spec: Annotated[dict[str, Any], Field(min_length=1), AfterValidator(_all_storable)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.metric_source_ref is None and self.type is None:
            raise ValueError("type can be left out only with a metricSourceRef, whose DataSource has one")
        return self


def _whose_source(value: Any) -> str:
    if isinstance(value, dict):
        named = value.get("type"), value.get("metricSourceRef", value.get("metric_source_ref"))
        return "[Plumbline]" if named == (None, None) or named[0] == objects.EXTENSION else "[other]"
    return "[Plumbline]" if isinstance(value, MetricSource) else "[other]"


def _any_of(schema: dict[str, Any]) -> None:
    schema["anyOf"] = schema.pop("oneOf")


class MetricRef(OpenSloSchema):
    metric_source: Annotated[
        Annotated[MetricSource, Tag("[Plumbline]")] | Annotated[ForeignSource, Tag("[other]")],
        Discriminator(_whose_source),
        # The schema of a foreign source takes Plumbline's own too.
        Field(json_schema_extra=_any_of),
    ]

    @property
    def query(self) -> SignalQuery | None:
        """Which stored points it means; None where another tool has them."""
        return self.metric_source.spec if isinstance(self.metric_source, MetricSource) else None


class RatioMetric(OpenSloSchema):
    counter: bool = True
    good: MetricRef | None = None
    bad: MetricRef | None = None
    total: Given[MetricRef] = None
    raw_type: Given[Literal["success", "failure"]] = None
    raw: Given[MetricRef] = None
    """A ratio that was made elsewhere, of successes or of failures."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.raw is None) != (self.raw_type is None):
            raise ValueError("ratioMetric takes raw and rawType together")
        if self.raw is not None:
            if self.good or self.bad or self.total:
                raise ValueError("ratioMetric takes raw, or total with good or bad, not both")
        elif self.total is None or (self.good is None) == (self.bad is None):
            raise ValueError("ratioMetric takes total with exactly one of good and bad, or raw with rawType")
        return self


class Indicator(OpenSloSchema):
    """`metadata` and `spec` of an SLI, flattened."""

    name: Given[SloName] = None
    display_name: Given[SloText] = None
    labels: Given[Labels] = None
    annotations: Given[Annotations] = None
    description: Given[SloText] = None
    threshold_metric: MetricRef | None = None
    ratio_metric: RatioMetric | None = None

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        if (self.threshold_metric is None) == (self.ratio_metric is None):
            raise ValueError("an indicator takes exactly one of thresholdMetric and ratioMetric")
        return self

    @property
    def metrics(self) -> dict[str, MetricRef]:
        """What it reads by its role: `value`; or `good` or `bad`, and `total`; or `raw`."""
        ratio = self.ratio_metric
        found = {"value": self.threshold_metric}
        if ratio is not None:
            found = {"good": ratio.good, "bad": ratio.bad, "total": ratio.total, "raw": ratio.raw}
        return {role: metric for role, metric in found.items() if metric is not None}

    @property
    def queries(self) -> dict[str, SignalQuery] | None:
        """Of each role the points that are meant; None where another tool has any of them."""
        found = {role: metric.query for role, metric in self.metrics.items()}
        kept = {role: query for role, query in found.items() if query is not None}
        return kept if len(kept) == len(found) else None


class Calendar(OpenSloSchema):
    start_time: Annotated[str, AfterValidator(objects.check_start)]
    """Local time, such as 2026-01-01 00:00:00: one of the windows begins then."""
    time_zone: Annotated[str, AfterValidator(objects.check_zone)]


class TimeWindow(OpenSloSchema):
    duration: Duration
    is_rolling: bool = True
    calendar: Given[Calendar] = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.is_rolling != (self.calendar is None):
            raise ValueError("a window that is not rolling has a calendar, and a rolling one has none")
        return self


class Objective(OpenSloSchema):
    display_name: SloText = ""
    op: Operator | None = None
    value: float | None = None
    """The threshold of a thresholdMetric, in the metric's unit."""
    target: Given[Annotated[float, Field(ge=0, lt=1)]] = None
    """The fraction of events (Occurrences) or of slices (Timeslices, RatioTimeslices) that must be good."""
    target_percent: Given[Annotated[float, Field(ge=0, lt=100)]] = None
    """The same in percent: one of the two is given."""
    time_slice_target: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the method Timeslices: the part of a slice that must be good; `target` where it is left out."""
    time_slice_window: Annotated[Duration, BeforeValidator(_from_minutes)] | None = None
    """A number counts minutes."""
    indicator: Given[Indicator] = None
    """Of a composite SLO; as the SLO's own, also `indicator_ref`."""
    indicator_ref: Given[SloName] = None
    composite_weight: Given[Annotated[float, Field(gt=0)]] = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.target is None) == (self.target_percent is None):
            raise ValueError("an objective takes exactly one of target and targetPercent")
        return self

    @property
    def fraction(self) -> float:
        """The target, however it was given."""
        if self.target is not None:
            return self.target
        # By decimals: 99.9 % is 0.999, not 0.9990000000000001.
        return round((self.target_percent or 0.0) / 100, 15)

    @property
    def composite(self) -> bool:
        return self.indicator is not None or self.indicator_ref is not None


_POLICIES = TypeAdapter(list[objects.SloPolicy])


def _alert_policies(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = _POLICIES.dump_python(
        _POLICIES.validate_python(_all_storable(policies)), mode="json", exclude_none=True
    )
    return written


class Slo(OpenSloSchema):
    """`metadata` and `spec` of an OpenSLO v1 SLO, flattened."""

    name: SloName
    display_name: SloText = ""
    labels: Given[Labels] = None
    annotations: Given[Annotations] = None
    description: Given[SloText] = None
    service: Given[SloName] = None
    """OpenSLO's name of the service, where it is another than the requirement's."""
    indicator: Given[Indicator] = None
    """With `indicator_ref`: that SLI as it was when this was written. None where there was none of the name."""
    indicator_ref: Given[SloName] = None
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)]
    budgeting_method: BudgetingMethod = BudgetingMethod.OCCURRENCES
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=30)]
    alert_policies: Given[Annotated[list[dict[str, Any]], Field(max_length=20), AfterValidator(_alert_policies)]] = (
        None
    )

    @model_validator(mode="after")
    def _objectives_fit(self) -> Self:
        own = self.indicator is not None or self.indicator_ref is not None
        composite = [objective.composite for objective in self.objectives]
        if own and any(composite):
            raise ValueError("an indicator is the SLO's or, of a composite one, the objectives', not both")
        if not own and not all(composite):
            raise ValueError(
                "indicator or indicatorRef is required: the SLO's or, of a composite one, every objective's"
            )
        for objective in self.objectives:
            indicator = self.indicator_of(objective)
            threshold = indicator is not None and indicator.threshold_metric is not None
            if threshold and (objective.op is None or objective.value is None):
                raise ValueError("an objective on a thresholdMetric needs op and value")
            if self.budgeting_method.of_time and objective.time_slice_window is None:
                raise ValueError(f"an objective of the method {self.budgeting_method} needs timeSliceWindow")
        return self

    def indicator_of(self, objective: Objective) -> Indicator | None:
        """What one of its objectives is about; None where the SLI that it names is not known."""
        return objective.indicator if objective.composite else self.indicator

    @property
    def indicators(self) -> list[Indicator]:
        """Those of all its objectives."""
        found = [self.indicator, *(objective.indicator for objective in self.objectives)]
        return [each for each in found if each is not None]


class BudgetRule(Schema):
    """What happens when so much of an error budget is spent."""

    spent: Annotated[float, Field(gt=0, le=10)]
    """The part that is spent: 0.5 is half of it, 1 all, 2 twice as much as there was."""
    action: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), Storable]
    """In people's words."""


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
    budget_policy: list[BudgetRule] = []
    """By `spent`, ascending."""
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


class AdjustmentCategory(StrEnum):
    """Why some time burns no error budget."""

    MAINTENANCE = "maintenance"
    DEPLOYMENT = "deployment"
    LOAD_TEST = "load_test"
    DEPENDENCY = "dependency"
    """Something that others run was down."""
    TELEMETRY = "telemetry"
    """What was measured is not what was."""
    OTHER = "other"


class Period(Schema):
    """From `start` up to `end`."""

    start: AwareDatetime
    end: AwareDatetime


class BudgetAdjustmentSnapshot(Schema):
    """When no error budget burns, and of what: of `requirement_ids`, or of the requirements of `service`."""

    id: UUID
    revision: int
    """Grows with each change: an older one never overwrites a newer one."""
    requirement_ids: list[UUID]
    service: str | None
    team: str | None
    """With `service`: only of those that this team owns."""
    category: AdjustmentCategory
    reason: str
    windows: list[Period]
    """In order, in UTC, apart from each other: all that there ever are. A revocation cuts them short."""


# --- Analysis -------------------------------------------------------------------------------------------


class VerdictState(StrEnum):
    MET = "MET"
    AT_RISK = "AT_RISK"
    VIOLATED = "VIOLATED"
    NO_DATA = "NO_DATA"


class AlertSeverity(StrEnum):
    PAGE = "page"
    """Somebody has to act at once."""
    TICKET = "ticket"
    """Somebody has to act within days."""


class BurnAlert(Schema):
    """That an error budget burns too fast: at this rate or faster over both windows."""

    severity: AlertSeverity
    rate: float
    """1 spends the budget exactly within the SLO's window."""
    long_seconds: float
    short_seconds: float


class Exhaustion(Schema):
    """When the error budget is spent if it burns on as of late. Null where that is not within the SLO's window."""

    expected_at: AwareDatetime | None
    earliest_at: AwareDatetime
    """With a chance of 10 % it comes even sooner, and with one of 10 % later than `latest_at`."""
    latest_at: AwareDatetime | None


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
    alert: Given[BurnAlert] = None
    """The most urgent alert that the burn rate raises."""
    exhaustion: Given[Exhaustion] = None
    weight: Given[float] = None
    """Of an objective of a composite SLO, whose state follows from the weighted mean of the budgets that are left."""
    missing: Given[str] = None
    """Why nothing was measured, where nothing can be."""
    adjusted: Given[float] = None
    """The units that budget adjustments leave out of `good` and `total`."""
    policy: Given[BudgetRule] = None
    """Of the requirement's budget policy what applies now: the rule with most spent that is reached."""


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


class Label(StrEnum):
    """What people say of an anomaly."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class DetectorMember(Schema):
    """One of the members of the detection engine: a value far from the usual one of its time; a level that moved;
    more or less variation than usual; what the series never had. `share` of the score, 0 to 1."""

    member: Literal["departure", "level", "variation", "novelty"]
    share: Annotated[float, Field(ge=0, le=1)]


class MovedSeries(Schema):
    """Another series of the service that moved then: medians before and after the onset, and by how many of its own
    usual deviations (at most 100)."""

    metric: str
    aggregation: str
    unit: str
    before: float
    after: float
    deviations: float


class PrecedingDeployment(Schema):
    """What was deployed before an anomaly began."""

    id: UUID
    service: str
    version: str
    environment: str | None
    deployed_at: AwareDatetime


class AnomalyExplanation(Schema):
    """Why an anomaly was raised, and what surrounds it: the members that saw it, the most first; what else moved, the
    most first; which deployments preceded it, the nearest first."""

    sentence: str
    members: list[DetectorMember]
    moved: list[MovedSeries]
    deployments: list[PrecedingDeployment]


class LogShare(Schema):
    """One template's part of a change of the mix: the shares of the lines that were expected and that came."""

    template_id: UUID | None
    template: str
    expected: float
    came: float


class LogEvidence(Schema):
    """What an anomaly of logs is made of. `template_id` and `template` are null where it is about all of them."""

    kind: Literal["new", "vanished", "rate", "mix"]
    template_id: UUID | None
    template: str | None
    examples: list[str]
    shares: list[LogShare]
    """Of a mix: the templates that add most to its change."""
    interval_seconds: int


class AnomalySnapshot(Schema):
    """A departure of one signal from its expected band, or of the logs of one service from what is usual in them."""

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
    explanation: AnomalyExplanation | None = None
    log: Given[LogEvidence] = None
    revision: int
    """Grows with each change: an older one never overwrites a newer one."""
    acknowledged_at: Given[AwareDatetime] = None
    acknowledged_by: Given[str] = None
    label: Given[Label] = None
    """The latest of its labels."""
    backfill_job_id: Given[UUID] = None
    """Of the job that found it in stored history: then nobody was notified, and no incident has it."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class JobFailure(Schema):
    """Why a job has no result: `type`, `title` and `detail` of a problem (RFC 9457)."""

    type: str
    title: str
    detail: str


class JobSnapshot(Schema):
    """A job as it stood at a revision, without what it was asked and what came of it."""

    id: UUID
    kind: str
    state: JobState
    service: str | None
    """What it is about, as `signal_id`."""
    signal_id: UUID | None
    progress: Annotated[float, Field(ge=0, le=1)]
    message: str
    """What it is at."""
    failure: Given[JobFailure] = None
    attempts: Annotated[int, Field(ge=0)]
    """How often a worker took it on; one that was stopped in order gave its attempt back."""
    worker: str | None
    """Who has it, or had it last."""
    created_at: AwareDatetime
    created_by: str
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    deadline_at: AwareDatetime
    revision: int


class IncidentState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    MERGED = "merged"
    """It turned out to be one with another incident, `merged_into`."""


class OriginReason(Schema):
    """One of the parts that an origin's score is the sum of. `weight` is what it adds, of at most 1 in all."""

    kind: Literal["onset", "dependents", "strength", "deployment", "logs"]
    text: str
    weight: Annotated[float, Field(ge=0, le=1)]


class IncidentOrigin(Schema):
    """Where an incident may have begun: a service, by the anomaly of it that began first."""

    service: str | None
    anomaly_id: UUID
    title: str
    score: Annotated[float, Field(ge=0, le=1)]
    reasons: list[OriginReason]
    """The weightiest first."""


class IncidentAnomaly(Schema):
    """An anomaly as its incident tells of it."""

    id: UUID
    service: str | None
    requirement_id: UUID | None
    severity: Severity
    onset: AwareDatetime
    end: AwareDatetime | None
    sentence: str


class Comment(Schema):
    at: AwareDatetime
    by: str
    text: str


class IncidentSnapshot(Schema):
    """Anomalies that belong together, as one thing that people act on."""

    id: UUID
    revision: int
    """Grows with each change: an older one never overwrites a newer one."""
    state: IncidentState
    severity: Severity
    """The worst of its anomalies."""
    title: str
    services: list[str]
    """By name, at most 500, as `requirement_ids`."""
    requirement_ids: list[UUID]
    onset: AwareDatetime
    """Of its first anomaly."""
    quiet_since: AwareDatetime | None
    """When the last of its anomalies was over; null while one goes on."""
    anomaly_count: Annotated[int, Field(ge=0)]
    anomalies: list[IncidentAnomaly]
    """The first of them, at most 20."""
    origins: list[IncidentOrigin]
    """The most probable first, at most 5."""
    comments: list[Comment]
    """The latest 20, in their order."""
    opened_at: AwareDatetime
    acknowledged_at: Given[AwareDatetime] = None
    acknowledged_by: Given[str] = None
    resolved_at: Given[AwareDatetime] = None
    resolved_by: Given[str] = None
    """Who resolved it; absent where it ended with its anomalies."""
    merged_into: Given[UUID] = None
    split_from: Given[UUID] = None


class DeploymentSnapshot(Schema):
    """That a version of a service began to serve."""

    id: UUID
    service: str
    """`service.name`."""
    version: str
    """`service.version`."""
    environment: str | None
    """`deployment.environment.name`."""
    deployed_at: AwareDatetime
    url: str | None
    description: str
    external_id: str | None
    """What the sender calls it (`deployment.id`)."""
    recorded_at: AwareDatetime
    recorded_by: str


# --- Logs -----------------------------------------------------------------------------------------------


class LogTemplateSnapshot(Schema):
    """What the lines of one log statement have in common; `<*>` stands for what varies."""

    id: UUID
    service: str
    template: str
    count: int
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    examples: list[str]
    revision: int
    """Grows each time that it is told of: an older one never overwrites a newer one."""


class Page(Schema):
    """What every list endpoint answers; parametrise `items` in a subclass."""

    items: list[Any]
    total: Annotated[int, Field(ge=0)]


def utc(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as every API and event writes it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
