"""What the group routes answer."""

from pydantic import AwareDatetime

from plumbline_common.schemas import Aggregation, Schema


class GroupSeries(Schema):
    metric: str
    aggregation: Aggregation
    unit: str


class GroupPart(GroupSeries):
    """A series that adds to an alarm: its share of the worst score, its value then and its median before."""

    share: float
    value: float | None
    usual: float | None


class GroupAlarm(Schema):
    """A stretch in which the service as a whole was unusual: its slices by their ends, and who made it so."""

    onset: AwareDatetime
    end: AwareDatetime
    peak_at: AwareDatetime
    score: float
    parts: list[GroupPart]


class GroupPoint(Schema):
    time: AwareDatetime
    score: float
    """1 is the threshold."""


class GroupScores(Schema):
    service: str
    start: AwareDatetime
    end: AwareDatetime
    step_seconds: float
    series: list[GroupSeries]
    """What was judged together."""
    points: list[GroupPoint]
    """Slices in which the group is still learning, or has no value, are left out."""
    alarms: list[GroupAlarm]
