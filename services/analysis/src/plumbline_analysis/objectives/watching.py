"""What the detectors said of one requirement's indicators, written down: their state, judgements, anomalies."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.detection.alarm import Change
from plumbline_analysis.models import Anomaly
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure, repository
from plumbline_analysis.objectives.gather import SloWork, Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_common.events import Event


async def record(
    session: AsyncSession, work: Work, judged: Sequence[Judged], ongoing: dict[UUID, Anomaly]
) -> list[Event]:
    """Store what is new and return the events that tell of it.

    `ongoing`, the anomalies that go on by their signal, is brought up to date.
    """
    events: list[Event] = []
    for slo, result in zip(work.slos, judged, strict=True):
        # Before there is a signal, there is nothing to watch and no unit to name.
        if slo.matched or slo.indicator is not None:
            events += await _record(session, work, slo, result, ongoing)
    for indicator in work.outdated:
        if (anomaly := ongoing.pop(indicator.id, None)) is not None:
            events.append(anomalies.end(anomaly, work.until))
        await repository.drop_detector(session, indicator.number)
    return events


async def _record(
    session: AsyncSession, work: Work, slo: SloWork, judged: Judged, ongoing: dict[UUID, Anomaly]
) -> list[Event]:
    grid, subject = slo.request.watched, _subject(work, slo)
    if slo.indicator is not None:
        number, id = slo.indicator.number, slo.indicator.id
    else:
        number, id = await repository.add_indicator(
            session,
            identity=slo.identity,
            metric=subject.metric,
            unit=subject.unit,
            service=subject.service,
            attributes=subject.attributes,
            requirement_id=subject.requirement_id,
            slo=slo.slo.name,
            aggregation=subject.aggregation,
        )
    await repository.save_detector(
        session,
        signal=number,
        requirement_id=work.requirement.id,
        slo=slo.slo.name,
        watching_since=moment(judged.watch.since),
        evaluated_to=moment(grid.start + grid.step * grid.count),
        state=judged.watch.state.to_bytes(),
        alarm=judged.watch.alarm.to_json(),
    )
    said = zip(grid.ends.tolist(), judged.measured.watched.tolist(), judged.judgements, strict=True)
    await repository.save_detections(session, number, [each for each in said if np.isfinite(each[1])])
    return await _alarms(session, id, subject, judged, ongoing)


async def _alarms(
    session: AsyncSession, id: UUID, subject: anomalies.Subject, judged: Judged, ongoing: dict[UUID, Anomaly]
) -> list[Event]:
    events: list[Event] = []
    for change, alarm in judged.changes:
        anomaly = ongoing.get(id)
        if change is Change.OPENED and anomaly is None:
            ongoing[id], detected = await anomalies.open_one(session, id, subject, alarm)
            events.append(detected)
        elif change is Change.WORSENED and anomaly is not None:
            if (updated := anomalies.worsen(anomaly, alarm)) is not None:
                events.append(updated)
        elif change is Change.CLOSED and anomaly is not None:
            events.append(anomalies.resolve(ongoing.pop(id), alarm))
    return events


def _subject(work: Work, slo: SloWork) -> anomalies.Subject:
    query = measure.subject(slo.slo)
    if slo.indicator is not None:
        unit = slo.indicator.unit
    elif slo.slo.indicator.ratio_metric is not None:
        unit = "1"
    else:
        unit = "" if query.le is not None else slo.matched[0].unit
    return anomalies.Subject(
        metric=query.metric,
        aggregation=measure.aggregation(slo.slo),
        unit=unit,
        service=query.attributes.get("service.name") or work.requirement.service,
        attributes=query.attributes,
        requirement_id=work.requirement.id,
        requirement_revision=work.requirement.revision,
    )
