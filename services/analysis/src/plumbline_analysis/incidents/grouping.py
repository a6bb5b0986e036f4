"""Which anomalies belong together. Pure.

Two anomalies are related when they are of one signal, requirement or service, or of services that are neighbours in
the service graph; and near when the time between the end of one and the onset of the other is short. Anomalies that
are related and near, and whatever these are related and near to in turn, are one incident: connected components, so
the order in which anomalies arrive does not matter. A person's split stands above it: incidents that were set apart
are never joined again.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

Neighbours = Mapping[str, Collection[str]]
"""The services that call a service or are called by it."""


@dataclass(frozen=True)
class Limits:
    """How near is near: `window` for what is related, `again` for another anomaly of the same signal."""

    window: timedelta
    again: timedelta


@dataclass(frozen=True)
class Member:
    """An anomaly. `end` is None while it goes on; `incident_id` is None where it belongs to none yet."""

    id: UUID
    signal_id: UUID
    service: str | None
    requirement_id: UUID | None
    onset: datetime
    end: datetime | None
    incident_id: UUID | None = None

    @property
    def age(self) -> tuple[datetime, UUID]:
        """The first of several begins first."""
        return self.onset, self.id


@dataclass(frozen=True)
class Known:
    """An incident that may take in more, and the incidents that a person set apart from it."""

    id: UUID
    opened_at: datetime
    is_open: bool = True
    """One that is not takes in what comes anew, but is not joined with another for what is in it."""
    apart: frozenset[UUID] = frozenset()

    @property
    def age(self) -> tuple[datetime, UUID]:
        """The older of two comes first."""
        return self.opened_at, self.id


@dataclass
class Group:
    """One incident: the oldest of `incidents` goes on, the others become part of it. Without any it is a new one."""

    incidents: list[Known] = field(default_factory=list)
    joining: list[Member] = field(default_factory=list)

    @property
    def is_news(self) -> bool:
        return bool(self.joining) or len(self.incidents) > 1


def group(known: Iterable[Known], members: Iterable[Member], neighbours: Neighbours, limits: Limits) -> list[Group]:
    """The groups in which something is new, the earliest onset first.

    O(members × (log members + neighbours of each × incidents that share a service)).
    """
    incidents = {each.id: each for each in known}
    sets, latest = _Sets(incidents), _Latest(limits)
    ordered = sorted(members, key=lambda each: each.age)
    for member in ordered:
        sets.add(member)
        for other in latest.near(member, neighbours):
            if _may_join(member, other, incidents):
                sets.join(other, member)
        latest.add(member)
    groups: dict[UUID, Group] = defaultdict(Group)
    for member in ordered:
        if member.incident_id is None:
            groups[sets.root(member.id)].joining.append(member)
    for incident in sorted(incidents.values(), key=lambda each: each.age):
        groups[sets.root(incident.id)].incidents.append(incident)
    return [each for each in groups.values() if each.is_news]


def _may_join(one: Member, other: Member, incidents: Mapping[UUID, Known]) -> bool:
    """Whether one of them is new, or the incidents of both go on."""
    if one.incident_id is None or other.incident_id is None:
        return True
    return incidents[one.incident_id].is_open and incidents[other.incident_id].is_open


class _Latest:
    """Of the anomalies so far, the one that ends last of each signal, requirement and service in each incident.

    Anomalies are added by their onset. So of those of one service, whichever is near to a later anomaly is near to
    the one that ends last, too, and comparing with that one is enough.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: dict[Hashable, dict[UUID | None, Member]] = defaultdict(dict)

    def near(self, member: Member, neighbours: Neighbours) -> list[Member]:
        """The latest of those that are related and near to a later anomaly, the earliest onset first."""
        around = () if member.service is None else neighbours.get(member.service, ())
        found = {}
        for key in (*_keys(member), *(("service", each) for each in around)):
            limit = self._limits.again if key[0] == "signal" else self._limits.window
            for each in self._seen.get(key, {}).values():
                if each.end is None or member.onset - each.end <= limit:
                    found[each.id] = each
        return sorted(found.values(), key=lambda each: each.age)

    def add(self, member: Member) -> None:
        for key in _keys(member):
            of_incident = self._seen[key]
            known = of_incident.get(member.incident_id)
            if known is None or (known.end is not None and (member.end is None or member.end > known.end)):
                of_incident[member.incident_id] = member


def _keys(member: Member) -> list[tuple[str, UUID | str]]:
    """What it is of."""
    keys: list[tuple[str, UUID | str]] = [("signal", member.signal_id)]
    if member.requirement_id is not None:
        keys.append(("requirement", member.requirement_id))
    if member.service is not None:
        keys.append(("service", member.service))
    return keys


class _Sets:
    """Disjoint sets of anomalies and incidents (Tarjan, 1975), which keep apart what a person set apart."""

    def __init__(self, incidents: Mapping[UUID, Known]) -> None:
        self._parents: dict[UUID, UUID] = {id: id for id in incidents}
        self._incidents = {id: {id} for id in incidents}
        self._apart: dict[UUID, set[UUID]] = {id: set(each.apart) for id, each in incidents.items()}

    def add(self, member: Member) -> None:
        if member.incident_id in self._parents:
            self._parents[member.id] = member.incident_id
            return
        self._parents[member.id] = member.id
        self._incidents[member.id], self._apart[member.id] = set(), set()

    def root(self, id: UUID) -> UUID:
        while (parent := self._parents[id]) != id:
            self._parents[id] = id = self._parents[parent]
        return id

    def join(self, one: Member, other: Member) -> None:
        kept, gone = self.root(one.id), self.root(other.id)
        if kept == gone or self._apart[kept] & self._incidents[gone] or self._apart[gone] & self._incidents[kept]:
            return
        self._parents[gone] = kept
        self._incidents[kept] |= self._incidents.pop(gone)
        self._apart[kept] |= self._apart.pop(gone)
