"""Anomalies: opened at their onset, updated at their peak, resolved at their end."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository, rules
from plumbline_analysis.anomalies.schemas import AnomalyPage, AnomalySort
from plumbline_analysis.detection.alarm import Alarm, Peak
from plumbline_analysis.models import Anomaly
from plumbline_analysis.moments import moment
from plumbline_common import db
from plumbline_common.events import AnomalyDetected, AnomalyResolved, AnomalyUpdated
from plumbline_common.schemas import AnomalySnapshot, AnomalyState


@dataclass(frozen=True)
class Subject:
    """The series that an anomaly is about, and the requirement that owns it."""

    metric: str
    aggregation: str
    unit: str
    service: str | None
    attributes: dict[str, str]
    requirement_id: UUID
    requirement_revision: int


async def page(
    session: AsyncSession,
    state: AnomalyState | None,
    service: str | None,
    requirement_id: UUID | None,
    sort: AnomalySort,
    skip: int,
    limit: int,
) -> AnomalyPage:
    found, total = await repository.page(session, state, service, requirement_id, sort, skip, limit)
    return AnomalyPage(items=[snapshot(anomaly) for anomaly in found], total=total)


async def one(session: AsyncSession, id: UUID) -> AnomalySnapshot:
    return snapshot(await repository.one(session, id))


def snapshot(anomaly: Anomaly) -> AnomalySnapshot:
    return AnomalySnapshot.model_validate(anomaly)


async def open_one(
    session: AsyncSession, signal_id: UUID, subject: Subject, alarm: Alarm
) -> tuple[Anomaly, AnomalyDetected]:
    """A new anomaly, and the event that tells of it; the caller stages it."""
    peak = _peak(alarm)
    anomaly = Anomaly(
        id=db.new_id(),
        signal_id=signal_id,
        metric=subject.metric,
        aggregation=subject.aggregation,
        unit=subject.unit,
        service=subject.service,
        attributes=subject.attributes,
        requirement_id=subject.requirement_id,
        requirement_revision=subject.requirement_revision,
        state=AnomalyState.OPEN,
        onset=moment(alarm.onset),
        end=None,
        revision=1,
    )
    _describe(anomaly, peak)
    session.add(anomaly)
    await session.flush()
    return anomaly, AnomalyDetected(anomaly=snapshot(anomaly))


def worsen(anomaly: Anomaly, alarm: Alarm) -> AnomalyUpdated | None:
    """A peak that is clearly worse than the one before is news; the last one is told with the end in any case."""
    peak = _peak(alarm)
    if peak.score < anomaly.peak_score * rules.NEWS:
        return None
    _describe(anomaly, peak)
    anomaly.revision += 1
    return AnomalyUpdated(anomaly=snapshot(anomaly))


def resolve(anomaly: Anomaly, alarm: Alarm) -> AnomalyResolved:
    """The end is the last point outside the band."""
    _describe(anomaly, _peak(alarm))
    return end(anomaly, alarm.last)


def end(anomaly: Anomaly, at: int) -> AnomalyResolved:
    """End an anomaly at `at`, microseconds since the epoch; also one whose series nobody watches any more."""
    anomaly.end = max(moment(at), anomaly.onset)
    if anomaly.state != AnomalyState.FALSE_POSITIVE:
        anomaly.state = AnomalyState.RESOLVED
    anomaly.revision += 1
    return AnomalyResolved(anomaly=snapshot(anomaly))


def _peak(alarm: Alarm) -> Peak:
    if alarm.peak is None:
        raise ValueError("an alarm that has opened has a peak")
    return alarm.peak


def _describe(anomaly: Anomaly, peak: Peak) -> None:
    anomaly.severity = rules.severity(peak.score)
    anomaly.direction = peak.direction
    anomaly.peak_at = moment(peak.at)
    anomaly.peak_score = peak.score
    anomaly.value = peak.value
    anomaly.expected = peak.expected
    anomaly.lower = peak.lower
    anomaly.upper = peak.upper
    anomaly.title = rules.title(
        anomaly.metric,
        anomaly.aggregation,
        anomaly.unit,
        anomaly.service,
        peak.direction,
        peak.value,
        peak.expected,
        peak.lower,
        peak.upper,
    )
