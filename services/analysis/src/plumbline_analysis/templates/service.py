"""Log templates: read, and written down with what is unusual about them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import of_logs
from plumbline_analysis.anomalies import repository as anomaly_repository
from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.deployments import repository as deployments
from plumbline_analysis.logs.stream import Judged
from plumbline_analysis.models import LogTemplate
from plumbline_analysis.moments import moment
from plumbline_analysis.templates import repository, rules
from plumbline_analysis.templates.mining import Mined
from plumbline_analysis.templates.repository import Pending
from plumbline_analysis.templates.schemas import LogTemplatePage, LogTemplateSort
from plumbline_common.events import Event, LogTemplateDiscovered, LogTemplateRemoved, LogTemplateUpdated
from plumbline_common.schemas import LogTemplateSnapshot, PrecedingDeployment


async def page(
    session: AsyncSession, service: str | None, part: str | None, sort: LogTemplateSort, skip: int, limit: int
) -> LogTemplatePage:
    found, total = await repository.page(session, service, part, sort, skip, limit)
    return LogTemplatePage(items=[_snapshot(template) for template in found], total=total)


async def one(session: AsyncSession, id: UUID) -> LogTemplateSnapshot:
    return _snapshot(await repository.one(session, id))


def _snapshot(template: LogTemplate) -> LogTemplateSnapshot:
    return LogTemplateSnapshot.model_validate(template)


async def forget(session: AsyncSession, pending: Pending, at: int) -> list[Event]:
    """Forget the templates of a stream and end its anomalies. The events that tell of it are to be staged."""
    ongoing = await anomaly_repository.ongoing_of_logs(session, pending.service)
    events: list[Event] = [anomalies.end(anomaly, at) for anomaly in ongoing]
    dropped = await repository.drop(session, pending.stream)
    return events + [_removed(pending, id, revision) for id, revision in dropped.items() if revision]


async def record(
    session: AsyncSession, pending: Pending, position: int, mined: Mined, within: timedelta
) -> list[Event]:
    """Store what was mined and judged of a stream up to `position`. The events that tell of it are to be staged.

    A deployment of the service `within` that time before an anomaly is told with it.
    """
    ids = await repository.known(session, pending.stream)
    if mined.seen:
        ids |= await repository.save(session, pending.stream, pending.service, mined.seen)
    events = await _gone(session, pending, mined)
    events += await _judged(session, pending.service, mined.judged, ids, within)
    if mined.judged:
        # Not sooner: while lines are still coming in, templates join.
        events += [_told(template) for template in await repository.news(session, pending.stream)]
    await repository.save_watch(session, pending.stream, position, mined)
    return events


async def _gone(session: AsyncSession, pending: Pending, mined: Mined) -> list[Event]:
    events: list[Event] = []
    merged = {number: whole for number, whole in mined.gone.items() if whole is not None}
    if merged:
        rows = await repository.merge(session, pending.stream, merged)
        events += [_removed(pending, row.id, row.revision - 1, row.whole) for row in rows if row.revision > 1]
    if forgotten := mined.gone.keys() - merged.keys():
        dropped = await repository.drop(session, pending.stream, forgotten)
        events += [_removed(pending, id, revision) for id, revision in dropped.items() if revision]
    return events


def _removed(pending: Pending, id: UUID, revision: int, merged_into: UUID | None = None) -> LogTemplateRemoved:
    return LogTemplateRemoved(
        log_template_id=id, revision=revision + 1, service=pending.service, merged_into=merged_into
    )


def _told(template: LogTemplate) -> Event:
    kind = LogTemplateDiscovered if template.revision == 1 else LogTemplateUpdated
    return kind(log_template=_snapshot(template))


async def _judged(
    session: AsyncSession, service: str, judged: Sequence[Judged], ids: Mapping[int, UUID], within: timedelta
) -> list[Event]:
    """Open, update and end anomalies, interval by interval."""
    if not any(each.began or each.lasted or each.ended for each in judged):
        return []
    events: list[Event] = []
    ongoing = {each.signal_id: each for each in await anomaly_repository.ongoing_of_logs(session, service)}
    for each in judged:
        over = [ongoing.pop(rules.signal_id(service, change), None) for change in each.ended]
        events += [anomalies.end(anomaly, each.start) for anomaly in over if anomaly is not None]
        await session.flush()
        for finding in each.began:
            departure = rules.departure(service, finding, each, ids)
            if departure.signal_id not in ongoing:
                rows = await deployments.before(session, [service], moment(departure.onset), within)
                deployed = [PrecedingDeployment.model_validate(row) for row in rows]
                ongoing[departure.signal_id], detected = await of_logs.open_one(session, departure, deployed)
                events.append(detected)
        for finding in each.lasted:
            departure = rules.departure(service, finding, each, ids)
            anomaly = ongoing.get(departure.signal_id)
            if anomaly is not None and (updated := of_logs.worsen(anomaly, departure)) is not None:
                events.append(updated)
    return events
