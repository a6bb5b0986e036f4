"""Which anomalies belong together. Pure.

Two anomalies are related when they are of one signal, requirement or service, or of services that are neighbours in
the service graph; and near when the time between the end of one and the onset of the other is short. Anomalies that
are related and near, and whatever these are related and near to in turn, are one incident: connected components, so
the order in which anomalies arrive does not matter. A person's split stands above it: incidents that were set apart
are never joined again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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


def group(known: Iterable[Known], members: Sequence[Member], neighbours: Neighbours, limits: Limits) -> list[Group]:
    """The groups in which something is new, the earliest onset first. O(members × those related to each)."""
    incidents = {each.id: each for each in known}
    over = {each.id for each in incidents.values() if not each.is_open}
    sets = _Sets(incidents)
    ordered = sorted(members, key=_order)
    for member in ordered:
        sets.add(member)
    for one, other in sorted(
        _pairs(ordered, neighbours, limits), key=lambda pair: (_order(pair[1]), _order(pair[0]))
    ):
        if None in (one.incident_id, other.incident_id) or not over & {one.incident_id, other.incident_id}:
            sets.join(one, other)
    groups: dict[UUID, Group] = defaultdict(Group)
    for member in ordered:
        if member.incident_id is None:
            groups[sets.root(member.id)].joining.append(member)
    for incident in sorted(incidents.values(), key=lambda each: each.age):
        groups[sets.root(incident.id)].incidents.append(incident)
    return [each for each in groups.values() if each.is_news]


def related(one: Member, other: Member, neighbours: Neighbours) -> bool:
    """Whether they may be of one incident, if they are near in time."""
    if one.signal_id == other.signal_id or (one.requirement_id and one.requirement_id == other.requirement_id):
        return True
    if one.service is None or other.service is None:
        return False
    return one.service == other.service or other.service in neighbours.get(one.service, ())


def near(one: Member, other: Member, limits: Limits) -> bool:
    """Whether the earlier one was over shortly before the later one began, or not at all."""
    earlier, later = sorted((one, other), key=_order)
    limit = limits.again if one.signal_id == other.signal_id else limits.window
    return earlier.end is None or later.onset - earlier.end <= limit


def _order(member: Member) -> tuple[datetime, UUID]:
    return member.onset, member.id


def _pairs(ordered: Sequence[Member], neighbours: Neighbours, limits: Limits) -> Iterator[tuple[Member, Member]]:
    """Each anomaly with those before it that it belongs to."""
    seen: dict[tuple[str, object], list[Member]] = defaultdict(list)
    for member in ordered:
        keys: list[tuple[str, object]] = [("signal", member.signal_id)]
        if member.requirement_id is not None:
            keys.append(("requirement", member.requirement_id))
        around = [] if member.service is None else [member.service, *neighbours.get(member.service, ())]
        for key in (*keys, *(("service", each) for each in around)):
            yield from ((each, member) for each in seen[key] if near(each, member, limits))
        for key in (*keys, *([("service", member.service)] if member.service is not None else [])):
            seen[key].append(member)


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
