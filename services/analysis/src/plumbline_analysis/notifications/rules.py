"""What is told to whom and when: routing, grouping, silences, repeats and tries again, without I/O."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from plumbline_analysis.notifications.alerts import Alert
from plumbline_common.errors import Conflict

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 3600.0
KEEP_TRYING = timedelta(days=1)
ALL_LABELS = "..."


class TargetExists(Conflict):
    slug = "notification-target-exists"
    title = "There is a notification target of this name"


class TooManyTargets(Conflict):
    slug = "too-many-notification-targets"
    title = "There are as many notification targets as there may be"


class AddressNotAllowed(Conflict):
    slug = "address-not-allowed"
    title = "Notifications may not go to this address"


class AlreadyDelivered(Conflict):
    slug = "already-delivered"
    title = "The receiver has taken it"


# --- Routing --------------------------------------------------------------------------------------------


class Wanted(Protocol):
    """What a target asks for. An empty filter lets all through."""

    @property
    def name(self) -> str: ...
    @property
    def events(self) -> Sequence[str]: ...
    @property
    def services(self) -> Sequence[str]: ...
    @property
    def teams(self) -> Sequence[str]: ...
    @property
    def requirement_ids(self) -> Sequence[UUID]: ...
    @property
    def severities(self) -> Sequence[str]: ...
    @property
    def only_named(self) -> bool: ...
    @property
    def send_resolved(self) -> bool: ...


def is_routed(alert: Alert, target: Wanted) -> bool:
    """Whether the target hears of the alert. One that the SLO's alert policy names does, whosever the alert is."""
    if target.severities and alert.severity not in target.severities:
        return False
    if target.name in alert.named:
        return True
    return not target.only_named and all(
        not wanted or not set(wanted).isdisjoint(has)
        for wanted, has in (
            (target.services, alert.services),
            (target.teams, alert.teams),
            (target.requirement_ids, alert.requirement_ids),
        )
    )


def is_news(alert: Alert, target: Wanted) -> bool:
    """Whether the alert's latest event is one that the target is told of."""
    return alert.event in target.events and (alert.firing or target.send_resolved)


def begins(alert: Alert, target: Wanted) -> bool:
    """Whether a target that has not heard of the alert hears of it now. An incident may come to fit its filters only
    after it was opened, when it grows graver or reaches another service: to this target, that is its opening."""
    events = {"incident.opened", "incident.updated"} if alert.event == "incident.updated" else {alert.event}
    return alert.firing and not events.isdisjoint(target.events) and is_routed(alert, target)


# --- Grouping -------------------------------------------------------------------------------------------


def group_labels(labels: Mapping[str, str], group_by: Sequence[str]) -> dict[str, str]:
    """The labels that alerts of one group share: an absent one counts as empty, `...` means all."""
    if ALL_LABELS in group_by:
        return dict(sorted(labels.items()))
    return {name: labels.get(name, "") for name in sorted(set(group_by))}


def group_key(labels: Mapping[str, str]) -> str:
    """As Alertmanager writes it, such as `{}:{service="shop"}`."""
    said = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
    return f"{{}}:{{{said}}}"


@dataclass(frozen=True)
class Pace:
    wait: timedelta
    """From the first news of a group to its first message: so long, more is gathered."""
    interval: timedelta
    """Between two messages of a group that has news."""
    repeat: timedelta
    """Between two messages of a group that has none, while it goes on."""

    def due(self, planned: datetime | None, told: datetime | None, now: datetime) -> datetime:
        """When a group that has news is to be looked at, of which a look was planned and the last message told."""
        wanted = now + self.wait if told is None else max(now, told + self.interval)
        return wanted if planned is None else min(planned, wanted)


class Kept(Protocol):
    """An alert as it is kept for one target."""

    @property
    def firing(self) -> bool: ...
    @property
    def version(self) -> int: ...
    @property
    def told_version(self) -> int: ...
    @property
    def told_firing(self) -> bool: ...


K = TypeVar("K", bound=Kept)


@dataclass(frozen=True)
class Plan:
    """What becomes of a group now. Those in `over` are over, and there is no more to say of them."""

    tell: list[int]
    over: list[int]
    next_look: datetime | None


def plan(
    group: Sequence[Kept], silent: Mapping[int, datetime], told: datetime | None, pace: Pace, now: datetime
) -> Plan:
    """`silent` holds by place the alerts that are silenced, and until when.

    What ended before it was told of is never told. What was told of and ended while it is silenced is told of when
    the silence ends, so that no receiver is left with what is over.
    """
    vain = [place for place, each in enumerate(group) if not each.firing and not each.told_firing]
    heard = [place for place in range(len(group)) if place not in silent and place not in vain]
    firing = [place for place in heard if group[place].firing]
    has_news = any(group[place].version != group[place].told_version for place in heard)
    repeats = bool(firing) and told is not None and now >= told + pace.repeat
    tell = heard if has_news or repeats else []
    over = [*vain, *(place for place in tell if not group[place].firing)]
    last = now if tell else told
    looks = [until for place, until in silent.items() if place not in vain]
    if firing:
        looks.append((last or now) + pace.repeat)
    return Plan(tell, over, min(looks, default=None))


# --- Silences -------------------------------------------------------------------------------------------


class Silencing(Protocol):
    """None and an empty list match all."""

    @property
    def service(self) -> str | None: ...
    @property
    def team(self) -> str | None: ...
    @property
    def requirement_id(self) -> UUID | None: ...
    @property
    def severity(self) -> str | None: ...


def is_silenced(alert: Alert, silence: Silencing) -> bool:
    """Whether all that the silence names holds of the alert. One of several services is silenced by none of them
    alone: it tells of the others too."""
    return (
        (silence.service is None or set(alert.services) == {silence.service})
        and (silence.team is None or set(alert.teams) == {silence.team})
        and (silence.requirement_id is None or set(alert.requirement_ids) == {silence.requirement_id})
        and (silence.severity is None or alert.severity == silence.severity)
    )


def silenced_until(alert: Alert, silences: Iterable[tuple[Silencing, datetime]]) -> datetime | None:
    """When the last of the silences that hold now ends; None where none matches."""
    return max((until for silence, until in silences if is_silenced(alert, silence)), default=None)


# --- Tries ----------------------------------------------------------------------------------------------


def pause(attempts: int, chance: float, asked: float | None) -> float:
    """Seconds until the next try after so many: they double up to an hour, and `chance` (0 to 1) spreads them over
    the upper half, so that not all come at once. Never less than the receiver `asked` for (Retry-After)."""
    longest = min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 20), LONGEST_PAUSE)
    return max(longest * (0.5 + 0.5 * chance), asked or 0.0)
