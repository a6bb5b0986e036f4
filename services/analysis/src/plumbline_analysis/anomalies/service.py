"""Anomalies: opened at their onset, updated at their peak, resolved at their end; what people say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository, rules
from plumbline_analysis.anomalies.explanation import explain
from plumbline_analysis.anomalies.schemas import AnomalyPage, AnomalySort, LabelContent, LabelPage, LabelResponse
from plumbline_analysis.detection.alarm import Alarm, Peak
from plumbline_analysis.models import Anomaly, AnomalyLabel
from plumbline_analysis.moments import moment
from plumbline_common import db, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.events import AnomalyDetected, AnomalyLabelled, AnomalyResolved, AnomalyUpdated
from plumbline_common.preconditions import check_match
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
    backfilled: bool | None = None,
) -> AnomalyPage:
    found, total = await repository.page(session, state, service, requirement_id, sort, skip, limit, backfilled)
    return AnomalyPage(items=[snapshot(anomaly) for anomaly in found], total=total)


async def one(session: AsyncSession, id: UUID) -> AnomalySnapshot:
    return snapshot(await repository.one(session, id))


def snapshot(anomaly: Anomaly) -> AnomalySnapshot:
    return AnomalySnapshot.model_validate(anomaly)


async def acknowledge(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo) -> AnomalySnapshot:
    """Say that somebody sees to it. Raises `IllegalTransition`, `Stale` and `PreconditionMissing`."""
    anomaly = await repository.one(session, id, locked=True)
    check_match(anomaly.revision, if_match)
    rules.check_transition(AnomalyState(anomaly.state), AnomalyState.ACKNOWLEDGED)
    anomaly.state = AnomalyState.ACKNOWLEDGED
    anomaly.acknowledged_at, anomaly.acknowledged_by = datetime.now(UTC), actor.subject
    anomaly.revision += 1
    acknowledged = snapshot(anomaly)
    await outbox.stage(session, AnomalyUpdated(anomaly=acknowledged))
    return acknowledged


async def labels(session: AsyncSession, id: UUID, skip: int, limit: int) -> LabelPage:
    await repository.one(session, id)
    found, total = await repository.labels(session, id, skip, limit)
    return LabelPage(items=[LabelResponse.model_validate(label) for label in found], total=total)


async def label(
    session: AsyncSession, id: UUID, content: LabelContent, actor: UserInfo
) -> tuple[LabelResponse, AnomalySnapshot, bool]:
    """What the actor says now, the anomaly after it, and whether they said nothing before."""
    anomaly = await repository.one(session, id, locked=True)
    given = LabelResponse(
        anomaly_id=id, labelled_at=datetime.now(UTC), labelled_by=actor.subject, **content.model_dump()
    )
    is_new = await repository.save_label(session, AnomalyLabel(**given.model_dump()))
    anomaly.label = content.label
    anomaly.state = rules.labelled(AnomalyState(anomaly.state), content.label, ended=anomaly.end is not None)
    anomaly.revision += 1
    after = snapshot(anomaly)
    await outbox.stage(session, AnomalyLabelled(anomaly=after, **given.model_dump(exclude={"anomaly_id"})))
    return given, after, is_new


async def open_one(
    session: AsyncSession, signal_id: UUID, subject: Subject, alarm: Alarm, surroundings: Surroundings
) -> tuple[Anomaly, AnomalyDetected]:
    """A new anomaly, and the event that tells of it; the caller stages it."""
    anomaly = _new(signal_id, subject, alarm, surroundings)
    session.add(anomaly)
    await session.flush()
    return anomaly, AnomalyDetected(anomaly=snapshot(anomaly))


async def found_in_history(
    session: AsyncSession, signal_id: UUID, subject: Subject, alarm: Alarm, job_id: UUID
) -> AnomalyResolved:
    """An anomaly that a backfill found, over as it is told. No incident takes it up, so nobody is called for it."""
    anomaly = _new(signal_id, subject, alarm, Surroundings())
    anomaly.backfill_job_id = job_id
    resolved = end(anomaly, alarm.last)
    session.add(anomaly)
    await session.flush()
    return resolved


def _new(signal_id: UUID, subject: Subject, alarm: Alarm, surroundings: Surroundings) -> Anomaly:
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
    return anomaly


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
