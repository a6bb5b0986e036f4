"""What a backfill is asked and what it answers."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from plumbline_analysis.jobs.schemas import JobContent
from plumbline_common.schemas import Instant, Name, Schema

MOST_SIGNALS = 500
MOST_ANOMALIES = 1_000
"""Of each signal."""


class BackfillContent(JobContent):
    """Judge the stored history from `start` to `end`: all that is kept if they are left out."""

    start: Instant | None = None
    end: Instant | None = None


class ServiceBackfillContent(BackfillContent):
    """The same of all signals of a service that a detector watches."""

    service: Name


class BackfillParameters(Schema):
    """What a worker is given."""

    signal_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_SIGNALS)]
    start: AwareDatetime | None
    end: AwareDatetime | None
    asked_at: AwareDatetime


class BackfilledSignal(Schema):
    """What came of one signal. What the detector had scored or raised before stays as it was."""

    signal_id: UUID
    skipped: str | None = None
    """Why nothing, or no more, was judged."""
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    slices: int = 0
    """Slices that have a value,"""
    scored: int = 0
    """and those that have a score now and had none."""
    anomalies: int = 0
    """Anomalies that were not known."""
    left_out: int = 0
    """Further ones, beyond the first 1,000."""


class BackfillResult(Schema):
    scored: int
    anomalies: int
    signals: list[BackfilledSignal]
    """In the order in which they were judged."""
