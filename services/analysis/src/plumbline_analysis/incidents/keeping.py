"""Incidents follow their anomalies: opened, joined, merged, and resolved when all has been over for a while."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.graph import repository as graph
from plumbline_analysis.graph.rules import callees_of, neighbours_of
from plumbline_analysis.incidents import composing, grouping, repository, rules
from plumbline_analysis.incidents.composing import Callees
from plumbline_analysis.incidents.grouping import Group, Known, Limits, Member
from plumbline_analysis.models import Anomaly, Incident
from plumbline_analysis.settings import Settings
from plumbline_analysis.threads import sized
from plumbline_common import db
from plumbline_common.events import Event, IncidentChange, IncidentClosed, IncidentOpened, IncidentUpdated
from plumbline_common.schemas import AnomalyState, Comment, IncidentState

AT_ONCE = 500
"""So many anomalies are grouped in one transaction."""
MOST_MEMBERS = 5_000
"""So many anomalies of incidents are compared with new ones, the latest."""


@dataclass(frozen=True)
class Kept:
    """What a round told of, still to be staged, and whether more anomalies wait to be grouped."""

    events: list[Event]
    is_behind: bool


async def keep(session: AsyncSession, now: datetime, settings: Settings, *, anew: bool = False) -> Kept:
    """Group what came or changed, and resolve what has been over for long enough, in the caller's transaction.

    `anew` looks also at what was grouped before, for services may have turned out to be neighbours.
    """
    await repository.in_turn(session)
    pending = await repository.ungrouped(session, AT_ONCE)
    events: list[Event] = []
    if pending or anew:
        events = await _group(session, pending, now, settings)
    events += await _resolve_calm(session, now, settings)
    return Kept(events, len(pending) == AT_ONCE)


def within(settings: Settings) -> timedelta:
    """How long before an anomaly a deployment may lie that has to do with it."""
    return timedelta(seconds=settings.deployment_window_seconds)


async def _group(session: AsyncSession, pending: Sequence[Anomaly], now: datetime, settings: Settings) -> list[Event]:
    edges = await graph.edges(session)
    limits = _limits(settings)
    new = [each for each in pending if each.incident_id is None and each.state != AnomalyState.FALSE_POSITIVE]
    since = min([each.onset for each in new], default=now) - limits.again
    members = await repository.members(session, since, MOST_MEMBERS)
    known = await repository.several(session, {each.incident_id for each in members if each.incident_id})
    groups = await sized(
        repository.WORK * (len(members) + len(new)),
        grouping.group,
        [_known(each) for each in known.values()],
        [*members, *map(_member, new)],
        neighbours_of(edges),
        limits,
    )
    by_id = {each.id: each for each in new}
    keeper = _Keeper(session, now, settings, callees_of(edges))
    for group in groups:
        await keeper.take(group, known, by_id)
    changed = {each.incident_id for each in pending if each.incident_id} - {each.id for each in keeper.opened}
    keeper.look_at((await repository.several(session, changed)).values())
    for each in pending:
        each.grouped_revision = each.revision
    return await keeper.events()


class _Keeper:
    """What one round changes, and the events that tell of it."""

    def __init__(self, session: AsyncSession, now: datetime, settings: Settings, callees: Callees) -> None:
        self.opened: list[Incident] = []
        self._session, self._now, self._settings, self._callees = session, now, settings, callees
        self._touched: dict[Incident, IncidentChange] = {}
        self._closed: list[Event] = []

    async def take(self, group: Group, known: dict[UUID, Incident], joining: dict[UUID, Anomaly]) -> None:
        """Let what belongs together be one incident."""
        incidents = [known[each.id] for each in group.incidents]
        kept = incidents[0] if incidents else self._open()
        for gone in incidents[1:]:
            self._closed.append(await merge(self._session, gone, kept, self._now))
            self._touched[kept] = "merged"
        if kept.state == IncidentState.RESOLVED:
            reopen(self._session, kept, self._now)
            self._touched[kept] = "reopened"
        for member in group.joining:
            joining[member.id].incident_id = kept.id
        self._touched.setdefault(kept, "anomalies")

    def look_at(self, incidents: Iterable[Incident]) -> None:
        """Anomalies of these have changed."""
        for each in incidents:
            self._touched.setdefault(each, "anomalies")

    async def events(self) -> list[Event]:
        """What the incidents say now, where that is news."""
        before = {each: composing.facts(each) for each in self._touched if each not in self.opened}
        self._session.add_all(self.opened)
        await self._session.flush()
        parts = await composing.compose(self._session, list(self._touched), self._callees, within(self._settings))
        found = list(self._closed)
        for incident, change in self._touched.items():
            if incident in self.opened:
                repository.add_entry(self._session, incident.id, self._now, "opened", incident.title)
                found.append(IncidentOpened(incident=composing.snapshot(incident)))
            elif change != "anomalies" or composing.facts(incident) != before[incident]:
                incident.revision += 1
                found.append(IncidentUpdated(incident=composing.snapshot(incident), change=change))
            if incident.state in rules.ONGOING and rules.is_false(parts[incident]):
                said = "each of its anomalies was called a false positive"
                found.append(resolve(self._session, incident, self._now, said))
        return found

    def _open(self) -> Incident:
        self.opened.append(blank(self._now))
        return self.opened[-1]


def blank(now: datetime) -> Incident:
    """A new incident, still without anomalies: it is composed before anybody is told of it."""
    return Incident(
        id=db.new_id(),
        revision=1,
        state=IncidentState.OPEN,
        severity="",
        title="",
        services=[],
        requirement_ids=[],
        onset=now,
        anomaly_count=0,
        anomalies=[],
        origins=[],
        comments=[],
        opened_at=now,
        apart=[],
    )


async def merge(
    session: AsyncSession, gone: Incident, kept: Incident, now: datetime, actor: str | None = None
) -> IncidentClosed:
    """Make `gone` part of `kept`, which is composed anew by the caller. The event tells of the one that is gone."""
    await repository.move(session, await repository.ids_of(session, gone.id), kept.id)
    composing.comment(kept, *map(Comment.model_validate, gone.comments))
    kept.apart = sorted({*kept.apart, *gone.apart} - {kept.id, gone.id})
    for other in (await repository.several(session, kept.apart)).values():
        other.apart = sorted({*other.apart, kept.id} - {gone.id})
    gone.state, gone.merged_into = IncidentState.MERGED, kept.id
    gone.revision += 1
    repository.add_entry(session, kept.id, now, "merged", f"it took in: {gone.title}", actor, gone.id)
    repository.add_entry(session, gone.id, now, "merged", f"it became part of: {kept.title}", actor, kept.id)
    return IncidentClosed(incident=composing.snapshot(gone))


def reopen(session: AsyncSession, incident: Incident, now: datetime) -> None:
    incident.state = IncidentState.OPEN
    incident.resolved_at = incident.resolved_by = None
    incident.acknowledged_at = incident.acknowledged_by = None
    repository.add_entry(session, incident.id, now, "reopened", "it came back")


def resolve(
    session: AsyncSession, incident: Incident, now: datetime, said: str, actor: str | None = None
) -> IncidentClosed:
    """`actor` is None where it ended by itself."""
    incident.state = IncidentState.RESOLVED
    incident.resolved_at, incident.resolved_by = now, actor
    incident.revision += 1
    repository.add_entry(session, incident.id, now, "resolved", said, actor)
    return IncidentClosed(incident=composing.snapshot(incident))


async def _resolve_calm(session: AsyncSession, now: datetime, settings: Settings) -> list[Event]:
    await session.flush()
    calm = timedelta(seconds=settings.incident_calm_seconds)
    said = f"all of its anomalies have been over for {calm.total_seconds() / 60:.3g} min"
    return [resolve(session, each, now, said) for each in await repository.calm(session, now - calm)]


def _limits(settings: Settings) -> Limits:
    again = settings.incident_calm_seconds + settings.incident_cooling_seconds
    return Limits(timedelta(seconds=settings.incident_window_seconds), timedelta(seconds=again))


def _known(incident: Incident) -> Known:
    return Known(incident.id, incident.opened_at, incident.state in rules.ONGOING, frozenset(incident.apart))


def _member(anomaly: Anomaly) -> Member:
    return Member(anomaly.id, anomaly.signal_id, anomaly.service, anomaly.requirement_id, anomaly.onset, anomaly.end)
