"""Anomalies: opened at their onset, updated at their peak, resolved at their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository, rules
from plumbline_analysis.anomalies.explanation import explain
from plumbline_analysis.anomalies.schemas import AnomalyPage, AnomalySort
from plumbline_analysis.detection.alarm import Alarm, Peak
from plumbline_analysis.models import Anomaly
from plumbline_analysis.moments import moment
from plumbline_common import db
from plumbline_common.events import AnomalyDetected, AnomalyResolved, AnomalyUpdated
from plumbline_common.schemas import (
    AnomalyExplanation,
    AnomalySnapshot,
    AnomalyState,
    MovedSeries,
    PrecedingDeployment,
)


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
    limit: float | None
    """The objective's threshold, in the unit of the series."""


@dataclass(frozen=True)
class Surroundings:
    """What else happened when an anomaly began: the series of its service that moved, what was deployed before."""

    moved: Sequence[MovedSeries] = ()
    deployments: Sequence[PrecedingDeployment] = ()


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
    session: AsyncSession, signal_id: UUID, subject: Subject, alarm: Alarm, surroundings: Surroundings
) -> tuple[Anomaly, AnomalyDetected]:
    """A new anomaly, and the event that tells of it; the caller stages it."""
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
    _describe(anomaly, _peak(alarm), subject, surroundings)
    session.add(anomaly)
    await session.flush()
    return anomaly, AnomalyDetected(anomaly=snapshot(anomaly))


def worsen(anomaly: Anomaly, subject: Subject, alarm: Alarm) -> AnomalyUpdated | None:
    """A peak that is clearly worse than the one before is news; the last one is told with the end in any case."""
    peak = _peak(alarm)
    if peak.score < anomaly.peak_score * rules.NEWS:
        return None
    _describe(anomaly, peak, subject, _known(anomaly))
    anomaly.revision += 1
    return AnomalyUpdated(anomaly=snapshot(anomaly))


def resolve(anomaly: Anomaly, subject: Subject, alarm: Alarm, surroundings: Surroundings | None) -> AnomalyResolved:
    """The end is the last point outside the band. What else moved is told anew where that was looked for."""
    _describe(anomaly, _peak(alarm), subject, surroundings or _known(anomaly))
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


def _known(anomaly: Anomaly) -> Surroundings:
    if anomaly.explanation is None:
        return Surroundings()
    known = AnomalyExplanation.model_validate(anomaly.explanation)
    return Surroundings(known.moved, known.deployments)


def _describe(anomaly: Anomaly, peak: Peak, subject: Subject, surroundings: Surroundings) -> None:
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
    explanation = explain(
        anomaly.title, peak, subject.limit, surroundings.moved, surroundings.deployments, anomaly.onset
    )
    anomaly.explanation = explanation.model_dump(mode="json")
