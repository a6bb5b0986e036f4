"""What the detectors said of the requirements' indicators, written down: their state, judgements, anomalies."""

from collections.abc import Mapping, Sequence
from math import isfinite
from uuid import UUID

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.anomalies.service import Surroundings
from plumbline_analysis.detection.alarm import Change
from plumbline_analysis.detection.streams import Judgement
from plumbline_analysis.models import Anomaly, WatchedRequirement
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure, repository
from plumbline_analysis.objectives.gather import SloWork, Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.objectives.measure import Part
from plumbline_analysis.objectives.repository import DetectorRow
from plumbline_analysis.points import late
from plumbline_common.events import Event


async def record(
    session: AsyncSession,
    works: Sequence[Work],
    judged: Sequence[Sequence[Judged]],
    ongoing: dict[UUID, Anomaly],
    around: Mapping[bytes, Surroundings],
) -> dict[UUID, list[Event]]:
    """Store what is new and return the events that tell of it, by requirement.

    `ongoing`, the anomalies that go on by their signal, is brought up to date. `around`: what else happened, by the
    identity of the indicator.
    """
    events: dict[UUID, list[Event]] = {}
    detectors: list[DetectorRow] = []
    said: list[tuple[int, int, float, Judgement]] = []
    for work, results in zip(works, judged, strict=True):
        told = events.setdefault(work.requirement.id, [])
        for slo, result in zip(work.slos, results, strict=True):
            # Before there is a signal, there is nothing to watch and no unit to name.
            if result.grid.count and (slo.plan.matched or slo.plan.indicator is not None):
                subject = _subject(work, slo)
                number, id = await _indicator(session, slo, subject)
                detectors.append(_detector(number, work, slo, result))
                ends, values = result.grid.ends.tolist(), result.measured.watched.tolist()
                for at, value, judgement in zip(ends, values, result.judgements, strict=True):
                    if isfinite(value):
                        said.append((number, at, value, judgement))
                told += await _alarms(session, id, subject, result, ongoing, around.get(slo.plan.identity))
        for indicator in work.outdated:
            if (anomaly := ongoing.pop(indicator.id, None)) is not None:
                told.append(anomalies.end(anomaly, work.until))
    await repository.save_detectors(session, detectors)
    await repository.save_detections(session, said)
    await late.mark(session, *(np.array([each[column] for each in said], np.int64) for column in (0, 1)))
    await repository.drop_detectors(session, [each.number for work in works for each in work.outdated])
    return events


async def _indicator(session: AsyncSession, slo: SloWork, subject: anomalies.Subject) -> tuple[int, UUID]:
    if slo.plan.indicator is not None:
        return slo.plan.indicator.number, slo.plan.indicator.id
    return await repository.add_indicator(
        session,
        identity=slo.plan.identity,
        metric=subject.metric,
        unit=subject.unit,
        service=subject.service,
        attributes=subject.attributes,
        requirement_id=subject.requirement_id,
        slo=slo.plan.part.slo.name,
        aggregation=subject.aggregation,
    )


def _detector(number: int, work: Work, slo: SloWork, judged: Judged) -> DetectorRow:
    return (
        number,
        work.requirement.id,
        slo.plan.part.slo.name,
        moment(judged.watch.since),
        moment(judged.grid.end),
        judged.watch.state,
        orjson.dumps(judged.watch.alarm.to_json()).decode(),
    )


async def _alarms(
    session: AsyncSession,
    id: UUID,
    subject: anomalies.Subject,
    judged: Judged,
    ongoing: dict[UUID, Anomaly],
    around: Surroundings | None,
) -> list[Event]:
    events: list[Event] = []
    for change, alarm in judged.changes:
        anomaly = ongoing.get(id)
        if change is Change.OPENED and anomaly is None:
            ongoing[id], detected = await anomalies.open_one(session, id, subject, alarm, around or Surroundings())
            events.append(detected)
        elif change is Change.WORSENED and anomaly is not None:
            if (updated := anomalies.worsen(anomaly, subject, alarm)) is not None:
                events.append(updated)
        elif change is Change.CLOSED and anomaly is not None:
            events.append(anomalies.resolve(ongoing.pop(id), subject, alarm, around))
    return events


def _subject(work: Work, slo: SloWork) -> anomalies.Subject:
    if slo.plan.indicator is not None:
        unit = slo.plan.indicator.unit
    elif slo.plan.part.is_ratio:
        unit = "1"
    else:
        unit = "" if measure.subject(slo.plan.part).le is not None else slo.plan.matched[0].unit
    return subject(work.requirement, slo.plan.part, unit)


def subject(requirement: WatchedRequirement, part: Part, unit: str) -> anomalies.Subject:
    """What an anomaly of the indicator of a part of a requirement's SLO is about."""
    query = measure.subject(part)
    return anomalies.Subject(
        metric=query.metric,
        aggregation=measure.aggregation(part),
        unit=unit,
        service=measure.service(part, requirement.service),
        attributes=query.attributes,
        requirement_id=requirement.id,
        requirement_revision=requirement.revision,
        limit=measure.alarm_config(part).limit,
    )
