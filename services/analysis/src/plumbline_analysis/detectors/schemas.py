"""What the detector routes take and answer."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from plumbline_analysis.detection.feedback import HIGHEST, LOWEST
from plumbline_common.schemas import Label, Schema, Storable

DAYS = 14


def _hundredths(bar: float) -> float:
    return round(bar, 2)


Bar = Annotated[float, Field(ge=LOWEST, le=HIGHEST), AfterValidator(_hundredths)]
"""A score, in hundredths; what is finer is rounded."""
Days = Annotated[int, Field(ge=1, le=35)]


Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), Storable]


class DetectorResponse(Schema):
    """What watches an indicator, and how strict it is."""

    signal_id: UUID
    requirement_id: UUID
    slo: str
    revision: int
    """0 until somebody sets the bar."""
    bar: float
    """The score at which it alarms."""
    watching_since: AwareDatetime
    backfilled_from: AwareDatetime | None
    """From here on a backfill has judged what lies before `watching_since`."""
    evaluated_to: AwareDatetime
    true_positives: Annotated[int, Field(ge=0)]
    """Its anomalies by their latest label."""
    false_positives: Annotated[int, Field(ge=0)]


class LabelledAnomaly(Schema):
    anomaly_id: UUID
    label: Label
    onset: AwareDatetime


class RaisedAlarms(Schema):
    """What a bar raises on stored history."""

    bar: float
    alarms: Annotated[int, Field(ge=0)]
    a_week: float | None
    """Null without history."""


class DetectorEffect(Schema):
    """What another bar changes on the stored history from `start` to `end`."""

    start: AwareDatetime
    end: AwareDatetime
    now: RaisedAlarms
    then: RaisedAlarms
    kept: list[LabelledAnomaly]
    """Labelled anomalies that it still raises,"""
    lost: list[LabelledAnomaly]
    """and those that the present bar raises and it does not."""


class DetectorProposal(Schema):
    signal_id: UUID
    revision: int
    """Of the detector that the effect is measured against."""
    bar: float
    """What the labels of the history ask for; or the one that was asked about."""
    effect: DetectorEffect


class DetectorRevisionContent(Schema):
    bar: Bar
    reason: Reason
    days: Days = DAYS
    """Of history that the effect is measured on."""


class DetectorRevisionResponse(Schema):
    """One change of a detector's bar."""

    revision: int
    bar: float
    reason: str
    effect: DetectorEffect
    """As it was measured before the bar was applied."""
    applied_at: AwareDatetime
    applied_by: str


class DetectorRevisionPage(Schema):
    items: list[DetectorRevisionResponse]
    total: Annotated[int, Field(ge=0)]
