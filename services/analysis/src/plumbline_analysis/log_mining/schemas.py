"""What log mining is asked and what it answers."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from plumbline_analysis.jobs.schemas import JobContent
from plumbline_common.schemas import Instant, Name, Schema, Storable

MOST_LINES = 10_000
MOST_TOLD = 500
"""Templates, and changes, that are told one by one."""
PARTS = 48

_Line = Annotated[str, StringConstraints(max_length=8192), Storable]


class LogMiningContent(JobContent):
    """Mine what a service has logged from `start` to `end`, all that is kept if they are left out; or `lines` that
    are sent along."""

    service: Name | None = None
    start: Instant | None = None
    end: Instant | None = None
    lines: Annotated[list[_Line], Field(min_length=1, max_length=MOST_LINES)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.service is None) == (self.lines is None):
            raise ValueError("name a service, or send lines along")
        if self.lines is not None and (self.start or self.end):
            raise ValueError("lines that are sent along are taken as they are: leave out start and end")
        if self.start and self.end and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class LogMiningParameters(LogMiningContent):
    """What a worker is given."""

    asked_at: AwareDatetime


class MinedTemplate(Schema):
    template: str
    count: int
    counts: list[int]
    """Its lines in each of 48 equal parts of the time, of lines that were sent along in equal parts of these."""
    first_seen: AwareDatetime | None
    last_seen: AwareDatetime | None
    """Null of lines that were sent along."""
    examples: list[str]


class MinedChange(Schema):
    """What began in one interval, as the evaluation of logs would have told it."""

    kind: Literal["new", "vanished", "rate", "mix"]
    start: AwareDatetime
    end: AwareDatetime
    template: str | None
    score: float
    expected: float
    came: float
    sentence: str


class LogMiningResult(Schema):
    start: AwareDatetime | None
    end: AwareDatetime | None
    """Of the first and the last line."""
    lines: int
    templates_total: int
    templates: list[MinedTemplate]
    """Those with the most lines, at most 500."""
    others: int
    """Lines of templates that are not told, or were forgotten as there were too many."""
    changes_total: int
    changes: list[MinedChange]
    """In their order, the first 500."""
