"""The objects of OpenSLO v1: https://github.com/OpenSLO/OpenSLO, README.md. Members that are null are not there.

What the specification leaves open, or says in two ways, is decided as its Go SDK decides it, and where the SDK is
stricter than the text, as the text has it; docs/openslo.md says so field by field.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictStr,
    StringConstraints,
    field_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

API_VERSION: Literal["openslo/v1"] = "openslo/v1"
KINDS = ("AlertCondition", "AlertNotificationTarget", "AlertPolicy", "DataSource", "SLI", "SLO", "Service")
EXTENSION = "Plumbline"
"""The metric source that Plumbline measures itself; with it, and only with it, durations may be in seconds."""

REQUIREMENT = "plumbline/requirement"
"""The annotation with the key of the requirement that an SLO belongs to: two may have SLOs of one name."""

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.|/\\]{0,253}[a-z0-9])?")
_LABEL = re.compile(r"[a-zA-Z0-9](?:[-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*")
_DURATION = re.compile(r"[1-9][0-9]{0,6}[smhdwMQY]")
_ZONE = re.compile(r"(?!posix|right/|localtime)[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_START_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def _wrong(reason: str) -> PydanticCustomError:
    return PydanticCustomError("openslo", "{reason}", {"reason": reason})


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _wrong(
            "must be at most 255 lower-case letters, digits and - . | / \\, and begin and end with a letter or digit"
        )
    return name


def _check_label(key: str) -> str:
    if not _LABEL.fullmatch(key):
        raise _wrong(
            "a label's key must be at most 63 letters, digits, - _ ., beginning and ending with a letter or digit"
        )
    return key


def _check_annotation(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL.fullmatch(name) or (slash and (len(prefix) > 253 or not _DOMAIN.fullmatch(prefix))):
        raise _wrong(
            "an annotation's key must be a name of at most 63 characters, with a DNS subdomain and / before it or not"
        )
    return key


def _check_duration(text: str) -> str:
    if not _DURATION.fullmatch(text):
        raise _wrong("must be a positive whole number with one of m h d w M Q Y, such as 5m, 4w or 1Q")
    return text


def _check_wait(text: str) -> str:
    return text if re.fullmatch(r"0[mhdwMQY]", text) else _check_duration(text)


def check_start(text: str) -> str:
    if not _START_TIME.fullmatch(text):
        raise _wrong("must be a date and time without zone, such as 2026-01-31 12:30:00")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(f"there is no such time as {text}") from None
    return text


@lru_cache(maxsize=1000)
def _is_zone(text: str) -> bool:
    # Of one name only: to list them all reads hundreds of files.
    if not _ZONE.fullmatch(text):
        return False
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def check_zone(text: str) -> str:
    if not _is_zone(text):
        raise _wrong(f"{text} is no name of the IANA Time Zone Database, such as Europe/Berlin")
    return text


def _check_slice(value: Any) -> Any:
    if isinstance(value, str):
        return _check_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise _wrong("must be a number of minutes above 0, or a duration such as 1m")
    return float(value)


def _shown(value: float | str) -> float | int | str:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[StrictStr, StringConstraints(min_length=1)]
Description = Annotated[StrictStr, StringConstraints(max_length=1050)]
Name = Annotated[StrictStr, AfterValidator(check_name)]
Duration = Annotated[StrictStr, AfterValidator(_check_duration)]
Wait = Annotated[StrictStr, AfterValidator(_check_wait)]
Number = Annotated[float, Field(strict=True), PlainSerializer(_shown)]
Labels = dict[
    Annotated[StrictStr, AfterValidator(_check_label)], Annotated[list[StrictStr], BeforeValidator(_as_list)]
]
Annotations = dict[Annotated[StrictStr, AfterValidator(_check_annotation)], StrictStr]
Operator = Literal["lte", "gte", "lt", "gt"]
Method = Literal["Occurrences", "Timeslices", "RatioTimeslices"]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return (
            {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given
        )


class Metadata(_Part):
    name: Name
    display_name: StrictStr | None = None
    labels: Labels | None = None
    """A text stands for the list of it alone."""
    annotations: Annotations | None = None

    @field_serializer("labels")
    def _shortened(self, labels: dict[str, list[str]] | None) -> dict[str, Any] | None:
        return labels and {name: values[0] if len(values) == 1 else values for name, values in labels.items()}


# --- Service, DataSource --------------------------------------------------------------------------------


class ServiceSpec(_Part):
    description: Description | None = None


class DataSourceSpec(_Part):
    description: Description | None = None
    type: Text
    connection_details: Any
    """Whatever the source needs."""


# --- SLI ------------------------------------------------------------------------------------------------


class MetricSource(_Part):
    metric_source_ref: Name | None = None
    type: Text | None = None
    spec: dict[str, Any]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.spec:
            raise _wrong("spec must not be empty: it says what to read")
        if self.metric_source_ref is None and self.type is None:
            raise _wrong("type can be left out only with a metricSourceRef, whose DataSource has one")
        return self


class Metric(_Part):
    metric_source: MetricSource


class RatioMetric(_Part):
    counter: StrictBool | None = None
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw_type: Literal["success", "failure"] | None = None
    raw: Metric | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.total is None) == (self.raw is None):
            raise _wrong("must have either total, with good or bad, or raw, with rawType")
        if self.raw is not None:
            if self.good is not None or self.bad is not None:
                raise _wrong("raw can't be used together with good and bad")
            if self.raw_type is None:
                raise _wrong("rawType is required with raw: success or failure")
        elif (self.good is None) == (self.bad is None):
            raise _wrong("must have exactly one of good and bad with total")
        elif self.raw_type is not None:
            raise _wrong("rawType goes with raw only")
        return self

    @property
    def metrics(self) -> list[Metric]:
        return [each for each in (self.good, self.bad, self.total, self.raw) if each is not None]


class SliSpec(_Part):
    description: Description | None = None
    threshold_metric: Metric | None = None
    ratio_metric: RatioMetric | None = None

    @model_validator(mode="after")
    def _one_metric(self) -> Self:
        if (self.threshold_metric is None) == (self.ratio_metric is None):
            raise _wrong("must have exactly one of thresholdMetric and ratioMetric")
        return self

    @property
    def sources(self) -> list[MetricSource]:
        metrics = [self.threshold_metric] if self.threshold_metric else []
        if self.ratio_metric:
            metrics += self.ratio_metric.metrics
        return [metric.metric_source for metric in metrics]


class Indicator(_Part):
    """An SLI within an SLO."""

    metadata: Metadata
    spec: SliSpec


# --- Alerts ---------------------------------------------------------------------------------------------


class BurnRate(_Part):
    kind: Literal["burnrate"] = "burnrate"
    op: Operator | None = None
    threshold: Number
    lookback_window: Duration
    alert_after: Wait | None = None


class AlertConditionSpec(_Part):
    description: Description | None = None
    severity: Text
    condition: BurnRate


class AlertNotificationTargetSpec(_Part):
    description: Description | None = None
    target: Text


class _RefOrInline(_Part):
    """`<…>Ref`, or kind, metadata and spec."""

    metadata: Metadata | None = None

    def _check(self, reference: str, ref: str | None, kind: str | None, spec: Any) -> None:
        inline = [name for name, value in (("kind", kind), ("metadata", self.metadata), ("spec", spec)) if value]
        if ref is not None and inline:
            raise _wrong(f"must have either {reference}, or kind, metadata and spec, not both")
        if ref is None and len(inline) < 3:
            lacking = [name for name in ("kind", "metadata", "spec") if name not in inline]
            raise _wrong(f"must have {reference}, or kind, metadata and spec; lacks {' and '.join(lacking)}")


class PolicyCondition(_RefOrInline):
    condition_ref: Name | None = None
    kind: Literal["AlertCondition"] | None = None
    spec: AlertConditionSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        self._check("conditionRef", self.condition_ref, self.kind, self.spec)
        return self


class PolicyTarget(_RefOrInline):
    target_ref: Name | None = None
    kind: Literal["AlertNotificationTarget"] | None = None
    spec: AlertNotificationTargetSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        self._check("targetRef", self.target_ref, self.kind, self.spec)
        return self


class AlertPolicySpec(_Part):
    description: Description | None = None
    alert_when_no_data: StrictBool | None = None
    alert_when_breaching: StrictBool | None = None
    alert_when_resolved: StrictBool | None = None
    conditions: Annotated[list[PolicyCondition], Field(min_length=1, max_length=1)]
    notification_targets: Annotated[list[PolicyTarget], Field(min_length=1)]


class SloPolicy(_RefOrInline):
    alert_policy_ref: Name | None = None
    kind: Literal["AlertPolicy"] | None = None
    spec: AlertPolicySpec | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        self._check("alertPolicyRef", self.alert_policy_ref, self.kind, self.spec)
        return self


# --- SLO ------------------------------------------------------------------------------------------------


class Calendar(_Part):
    start_time: Annotated[StrictStr, AfterValidator(check_start)]
    time_zone: Annotated[StrictStr, AfterValidator(check_zone)]


class TimeWindow(_Part):
    duration: Duration
    is_rolling: StrictBool | None = None
    """Left out: rolling, unless there is a calendar."""
    calendar: Calendar | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.is_rolling and self.calendar is not None:
            raise _wrong("calendar cannot be set when isRolling is true")
        if self.is_rolling is False and self.calendar is None:
            raise _wrong("calendar must be set when isRolling is false")
        return self


class SloObjective(_Part):
    display_name: StrictStr | None = None
    op: Operator | None = None
    value: Number | None = None
    target: Annotated[Number, Field(ge=0, lt=1)] | None = None
    target_percent: Annotated[Number, Field(ge=0, lt=100)] | None = None
    time_slice_target: Annotated[Number, Field(gt=0, le=1)] | None = None
    time_slice_window: Annotated[Any, AfterValidator(_check_slice), PlainSerializer(_shown)] = None
    """A number counts minutes."""
    indicator: Indicator | None = None
    indicator_ref: Name | None = None
    composite_weight: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.target is None) == (self.target_percent is None):
            raise _wrong("must have exactly one of target and targetPercent")
        if self.indicator is not None and self.indicator_ref is not None:
            raise _wrong("must have only one of indicator and indicatorRef")
        return self

    @property
    def composite(self) -> bool:
        return self.indicator is not None or self.indicator_ref is not None


class SloSpec(_Part):
    description: Description | None = None
    service: Name
    indicator: Indicator | None = None
    indicator_ref: Name | None = None
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)]
    budgeting_method: Method
    objectives: Annotated[list[SloObjective], Field(min_length=1)]
    alert_policies: list[SloPolicy] | None = None

    @model_validator(mode="after")
    def _one_indicator(self) -> Self:
        if self.indicator is not None and self.indicator_ref is not None:
            raise _wrong("must have only one of indicator and indicatorRef")
        own = self.indicator is not None or self.indicator_ref is not None
        composite = [objective.composite for objective in self.objectives]
        if own and any(composite):
            raise _wrong(
                "indicator or indicatorRef stands in spec or, of a composite SLO, in objectives, not in both"
            )
        if not own and not all(composite):
            raise _wrong("indicator or indicatorRef is required in spec or, of a composite SLO, in every objective")
        return self


# --- The objects ----------------------------------------------------------------------------------------


class _Object(_Part):
    api_version: Literal["openslo/v1"]
    metadata: Metadata

    @property
    def name(self) -> str:
        return self.metadata.name


class Service(_Object):
    kind: Literal["Service"]
    spec: ServiceSpec


class DataSource(_Object):
    kind: Literal["DataSource"]
    spec: DataSourceSpec


class SLI(_Object):
    kind: Literal["SLI"]
    spec: SliSpec


class SLO(_Object):
    kind: Literal["SLO"]
    spec: SloSpec

    @property
    def indicators(self) -> list[Indicator]:
        """Those that stand in it."""
        found = [self.spec.indicator, *(objective.indicator for objective in self.spec.objectives)]
        return [each for each in found if each is not None]


class AlertPolicy(_Object):
    kind: Literal["AlertPolicy"]
    spec: AlertPolicySpec


class AlertCondition(_Object):
    kind: Literal["AlertCondition"]
    spec: AlertConditionSpec


class AlertNotificationTarget(_Object):
    kind: Literal["AlertNotificationTarget"]
    spec: AlertNotificationTargetSpec


Object = Service | DataSource | SLI | SLO | AlertPolicy | AlertCondition | AlertNotificationTarget
OBJECTS: dict[str, type[Object]] = {
    "Service": Service,
    "DataSource": DataSource,
    "SLI": SLI,
    "SLO": SLO,
    "AlertPolicy": AlertPolicy,
    "AlertCondition": AlertCondition,
    "AlertNotificationTarget": AlertNotificationTarget,
}
