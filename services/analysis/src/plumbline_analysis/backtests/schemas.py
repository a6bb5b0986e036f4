"""What a backtest is asked and what it answers."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, model_validator

from plumbline_analysis.detectors.schemas import Bar
from plumbline_analysis.jobs.schemas import JobContent
from plumbline_common.schemas import Aggregation, Instant, Name, Schema

MOST_DETECTORS = 8
MOST_WINDOWS = 1_000
MOST_POINTS = 10_000
MOST_TOLD = 500
"""Alarms of a detector that are told one by one."""
DAYS = 14

_Least = Annotated[float, Field(ge=0)]


class DetectorConfig(Schema):
    """By what a detector alarms. `min_absolute` and `limit` in the unit of the signal; a deviation that is smaller
    than `min_absolute`, or than the part `min_relative` of what was expected, does not count."""

    name: Name | None = None
    """What the answer calls it; its place, from 1 on, if left out."""
    bar: Bar = 1.0
    direction: Literal["up", "down", "both"] = "both"
    min_absolute: _Least = 0.0
    min_relative: _Least = 0.0
    limit: float | None = None
    """A value that alarms by itself where the expected value keeps it."""
    onset_points: Annotated[int, Field(ge=1, le=100)] = 1
    """So many points in a row open an alarm,"""
    calm_points: Annotated[int, Field(ge=1, le=100)] = 3
    """and so many end it."""


class Window(Schema):
    """A stretch of time in which something was wrong."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError("a window ends no sooner than it starts")
        return self


class BacktestPoint(Schema):
    time: Instant
    value: float


class BacktestContent(JobContent):
    """Detectors to try on stored points from `start` to `end`, or on `points` that are sent along.

    `windows` are all that was wrong in that time: every other alarm is then false. Without them people's labels of
    the signal's anomalies are the measure, and an alarm that meets none of them says nothing.
    """

    detectors: Annotated[list[DetectorConfig], Field(min_length=1, max_length=MOST_DETECTORS)]
    start: Instant | None = None
    """14 days before `end` if left out."""
    end: Instant | None = None
    """Now if left out."""
    step_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """The slices that the points are judged in: as far apart as points usually are if left out."""
    aggregation: Aggregation | None = None
    """How the points of a slice become one."""
    points: Annotated[list[BacktestPoint], Field(min_length=1, max_length=MOST_POINTS)] | None = None
    windows: Annotated[list[Window], Field(max_length=MOST_WINDOWS)] | None = None


class BacktestParameters(BacktestContent):
    """What a worker is given: the same of one signal."""

    signal_id: UUID
    asked_at: AwareDatetime


class BacktestPeak(Schema):
    at: AwareDatetime
    score: float
    """Its weight: 1 opens an alarm."""
    value: float
    expected: float
    lower: float
    upper: float


class BacktestAlarm(Schema):
    onset: AwareDatetime
    """The first point that was out,"""
    opened_at: AwareDatetime
    """the point at which somebody would have been told,"""
    end: AwareDatetime | None
    """and the last that was out; null where it goes on."""
    direction: Literal["up", "down"]
    peak: BacktestPeak
    label: Literal["true_positive", "false_positive"] | None
    """What the windows or labels make of it."""


class BacktestQuality(Schema):
    """By the windows or labels. What there is nothing to say of is null."""

    true_alarms: int
    false_alarms: int
    found: int
    """Windows in which an alarm was open,"""
    missed: int
    """and those without one."""
    precision: float | None
    """The true part of the alarms that say something."""
    recall: float | None
    """The part of the windows that was found."""
    delay_seconds: float | None
    """The median time from the start of a window to its first alarm."""


class BacktestedDetector(Schema):
    """What one detector would have done."""

    detector: DetectorConfig
    name: str
    alarms_total: int
    alarms_a_week: float | None
    alarms: list[BacktestAlarm]
    """In their order, the first 500."""
    quality: BacktestQuality | None
    """Null where nothing is labelled."""


class BacktestResult(Schema):
    start: AwareDatetime
    end: AwareDatetime
    step_seconds: float
    points: int
    """Slices that had one."""
    labels: Literal["windows", "feedback"]
    """Whose word the quality goes by."""
    detectors: list[BacktestedDetector]
    """In the order in which they were asked for."""
