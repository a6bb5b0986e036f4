"""Anomalies of logs: a finding of one interval opens one; the interval in which the change is over ends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import rules, service
from plumbline_analysis.anomalies.explanation import explain_logs
from plumbline_analysis.models import Anomaly
from plumbline_analysis.moments import moment
from plumbline_common import db
from plumbline_common.events import AnomalyDetected, AnomalyUpdated
from plumbline_common.schemas import AnomalyExplanation, AnomalyState, LogEvidence, PrecedingDeployment

METRIC = "log.records"


@dataclass(frozen=True)
class Departure:
    """What departed, in `unit`: records an interval, seconds of silence, or bits of a mix. Times in microseconds."""

    signal_id: UUID
    service: str
    aggregation: str
    unit: str
    direction: Literal["up", "down"]
    onset: int
    peak_at: int
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    title: str
    evidence: LogEvidence


async def open_one(
    session: AsyncSession, departure: Departure, deployed: Sequence[PrecedingDeployment]
) -> tuple[Anomaly, AnomalyDetected]:
    """A new anomaly, and the event that tells of it; the caller stages it."""
    anomaly = Anomaly(
        id=db.new_id(),
        signal_id=departure.signal_id,
        metric=METRIC,
        aggregation=departure.aggregation,
        unit=departure.unit,
        service=departure.service,
        attributes={"service.name": departure.service},
        requirement_id=None,
        requirement_revision=None,
        state=AnomalyState.OPEN,
        onset=moment(departure.onset),
        end=None,
        revision=1,
    )
    _describe(anomaly, departure, deployed)
    session.add(anomaly)
    await session.flush()
    return anomaly, AnomalyDetected(anomaly=service.snapshot(anomaly))


def worsen(anomaly: Anomaly, departure: Departure) -> AnomalyUpdated | None:
    """A peak that is clearly worse than the one before is news."""
    if departure.score < anomaly.peak_score * rules.NEWS:
        return None
    known = AnomalyExplanation.model_validate(anomaly.explanation) if anomaly.explanation else None
    _describe(anomaly, departure, known.deployments if known else [])
    anomaly.revision += 1
    return AnomalyUpdated(anomaly=service.snapshot(anomaly))


def _describe(anomaly: Anomaly, departure: Departure, deployed: Sequence[PrecedingDeployment]) -> None:
    anomaly.severity = rules.severity(departure.score)
    anomaly.direction = departure.direction
    anomaly.peak_at = moment(departure.peak_at)
    anomaly.peak_score = departure.score
    anomaly.value = departure.value
    anomaly.expected = departure.expected
    anomaly.lower = departure.lower
    anomaly.upper = departure.upper
    anomaly.title = departure.title
    anomaly.log = departure.evidence.model_dump(mode="json")
    anomaly.explanation = explain_logs(departure.title, deployed, anomaly.onset).model_dump(mode="json")
