"""What people read of incidents, and do with them."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies.schemas import AnomalyPage
from plumbline_analysis.anomalies.service import snapshot as anomaly_snapshot
from plumbline_analysis.graph import repository as graph
from plumbline_analysis.graph.rules import callees_of
from plumbline_analysis.incidents import composing, keeping, repository, rules
from plumbline_analysis.incidents.composing import snapshot
from plumbline_analysis.incidents.schemas import IncidentPage, IncidentSort, Timeline
from plumbline_analysis.models import Incident
from plumbline_analysis.settings import Settings
from plumbline_common import outbox
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.events import IncidentChange, IncidentOpened, IncidentUpdated
from plumbline_common.preconditions import check_match
from plumbline_common.schemas import Comment, IncidentSnapshot, IncidentState


async def page(
    session: AsyncSession,
    state: IncidentState | None,
    service: str | None,
    requirement_id: UUID | None,
    anomaly_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    sort: IncidentSort,
    skip: int,
    limit: int,
) -> IncidentPage:
    found, total = await repository.page(
        session, state, service, requirement_id, anomaly_id, since, until, sort, skip, limit
    )
    return IncidentPage(items=[snapshot(each) for each in found], total=total)


async def one(session: AsyncSession, id: UUID) -> IncidentSnapshot:
    return snapshot(await repository.one(session, id))


async def anomalies(session: AsyncSession, id: UUID, skip: int, limit: int) -> AnomalyPage:
    await repository.one(session, id)
    found, total = await repository.anomalies(session, id, skip, limit)
    return AnomalyPage(items=[anomaly_snapshot(each) for each in found], total=total)


async def timeline(session: AsyncSession, id: UUID, settings: Settings, skip: int, limit: int) -> Timeline:
    await repository.one(session, id)
    items, total = await repository.timeline(session, id, keeping.within(settings), skip, limit)
    return Timeline(items=items, total=total)


async def acknowledge(session: AsyncSession, id: UUID, if_match: str | None, actor: UserInfo) -> IncidentSnapshot:
    """Say that somebody sees to it. Raises `IllegalTransition`, `Stale` and `PreconditionMissing`."""
    incident = await _to_change(session, id, if_match)
    rules.check_transition(IncidentState(incident.state), IncidentState.ACKNOWLEDGED)
    now = datetime.now(UTC)
    incident.state = IncidentState.ACKNOWLEDGED
    incident.acknowledged_at, incident.acknowledged_by = now, actor.subject
    repository.add_entry(session, id, now, "acknowledged", "somebody sees to it", actor.subject)
    return await _told(session, incident, "acknowledged")


async def resolve(
    session: AsyncSession, id: UUID, reason: str, if_match: str | None, actor: UserInfo
) -> IncidentSnapshot:
    """Say that it is over. Raises as `acknowledge` does."""
    incident = await _to_change(session, id, if_match)
    rules.check_transition(IncidentState(incident.state), IncidentState.RESOLVED)
    closed = keeping.resolve(session, incident, datetime.now(UTC), reason or "it is over", actor.subject)
    await outbox.stage(session, closed)
    return closed.incident


async def comment(session: AsyncSession, id: UUID, text: str, actor: UserInfo) -> tuple[Comment, IncidentSnapshot]:
    """What the actor says of it, and the incident after it. Raises `PartOfAnother`, which says of which."""
    await repository.in_turn(session)
    incident = await repository.one(session, id)
    if incident.merged_into is not None:
        raise rules.PartOfAnother(f"say it of {incident.merged_into}", merged_into=str(incident.merged_into))
    said = Comment(at=datetime.now(UTC), by=actor.subject, text=text)
    composing.comment(incident, said)
    repository.add_entry(session, id, said.at, "commented", text, actor.subject)
    return said, await _told(session, incident, "commented")


async def merge(
    session: AsyncSession, id: UUID, into: UUID, if_match: str | None, actor: UserInfo, settings: Settings
) -> IncidentSnapshot:
    """Make an incident part of an ongoing one, which is answered.

    Raises `Invalid` where there is no other one, `NotOngoing`, and as `acknowledge` does.
    """
    gone = await _to_change(session, id, if_match)
    kept = (await repository.several(session, [into])).get(into)
    if kept is None or kept is gone:
        raise Invalid("must be the id of another incident", pointer="/into")
    rules.check_transition(IncidentState(gone.state), IncidentState.MERGED)
    rules.check_ongoing(IncidentState(kept.state))
    closed = await keeping.merge(session, gone, kept, datetime.now(UTC), actor.subject)
    await _compose(session, [kept], settings)
    await outbox.stage(session, closed)
    return await _told(session, kept, "merged")


async def split(
    session: AsyncSession,
    id: UUID,
    anomaly_ids: list[UUID],
    if_match: str | None,
    actor: UserInfo,
    settings: Settings,
) -> IncidentSnapshot:
    """Make some anomalies of an ongoing incident one of their own, which is answered: nothing but a person joins the
    two again.

    Raises `Invalid` for what is none of its anomalies, `NothingLeft`, `NotOngoing`, and as `acknowledge` does.
    """
    incident = await _to_change(session, id, if_match)
    rules.check_ongoing(IncidentState(incident.state))
    own, chosen = await repository.ids_of(session, id), set(anomaly_ids)
    for place, each in enumerate(anomaly_ids):
        if each not in own:
            raise Invalid("is no anomaly of the incident", pointer=f"/anomaly_ids/{place}")
    if chosen == own:
        raise rules.NothingLeft("leave at least one of its anomalies")
    now = datetime.now(UTC)
    made = keeping.blank(now)
    made.split_from, made.apart = id, sorted({id, *incident.apart})
    incident.apart = sorted({*incident.apart, made.id})
    session.add(made)
    await session.flush()
    await repository.move(session, chosen, made.id)
    await _compose(session, [incident, made], settings)
    repository.add_entry(session, id, now, "split", f"apart from it: {made.title}", actor.subject, made.id)
    repository.add_entry(session, made.id, now, "opened", f"split from: {incident.title}", actor.subject, id)
    await outbox.stage(session, IncidentOpened(incident=snapshot(made)))
    await _told(session, incident, "split")
    return snapshot(made)


async def _to_change(session: AsyncSession, id: UUID, if_match: str | None) -> Incident:
    await repository.in_turn(session)
    incident = await repository.one(session, id)
    check_match(incident.revision, if_match)
    return incident


async def _compose(session: AsyncSession, incidents: list[Incident], settings: Settings) -> None:
    callees = callees_of(await graph.edges(session))
    await composing.compose(session, incidents, callees, keeping.within(settings))


async def _told(session: AsyncSession, incident: Incident, change: IncidentChange) -> IncidentSnapshot:
    incident.revision += 1
    after = snapshot(incident)
    await outbox.stage(session, IncidentUpdated(incident=after, change=change))
    return after
