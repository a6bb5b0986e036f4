"""How an incident is named, how grave it is, and what may become of it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from plumbline_common.errors import Conflict
from plumbline_common.schemas import AnomalyState, IncidentState, Severity

LEGAL: Mapping[IncidentState, tuple[IncidentState, ...]] = {
    IncidentState.OPEN: (IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED, IncidentState.MERGED),
    IncidentState.ACKNOWLEDGED: (IncidentState.RESOLVED, IncidentState.MERGED),
    IncidentState.RESOLVED: (IncidentState.MERGED,),
    IncidentState.MERGED: (),
}
"""What people may do. That the same thing comes back opens a resolved incident again."""
ONGOING = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
NAMED = 3
"""So many services are named in a title."""
_GRAVITY = list(Severity)
_ERROR = re.compile(
    r"\b(\w*errors?|\w*exceptions?|fail(s|ed|ures?)?|fatal|panic|traceback|refused|timed? ?out|abort(ed)?|killed)\b",
    re.I,
)


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "The incident cannot go to that state from where it is"


class NotOngoing(Conflict):
    slug = "incident-not-ongoing"
    title = "The incident is neither open nor acknowledged"


class NothingLeft(Conflict):
    slug = "nothing-left"
    title = "An incident keeps at least one anomaly"


class PartOfAnother(Conflict):
    slug = "part-of-another"
    title = "The incident is part of another one now"


def check_transition(now: IncidentState, to: IncidentState) -> None:
    """Raise unless a person may take an incident from `now` to `to`."""
    if to not in LEGAL[now]:
        legal = [state.value for state in LEGAL[now]]
        raise IllegalTransition(
            f"from {now.value} it can go to {' or '.join(legal) or 'no other state'}", legal=legal
        )


def check_ongoing(state: IncidentState) -> None:
    """Raise unless an incident may take in or give away anomalies."""
    if state not in ONGOING:
        raise NotOngoing(f"it is {state.value}")


@dataclass(frozen=True)
class Part:
    """An anomaly of an incident. `logs` is what its log lines say, None where it is not of logs."""

    id: UUID
    service: str | None
    requirement_id: UUID | None
    state: AnomalyState
    severity: Severity
    onset: datetime
    end: datetime | None
    peak_score: float
    title: str
    sentence: str
    logs: str | None = None

    @property
    def age(self) -> tuple[datetime, UUID]:
        """The first of several begins first."""
        return self.onset, self.id


def telling(parts: Sequence[Part]) -> list[Part]:
    """Those that are no false positives, by age; all of them where each is one."""
    ordered = sorted(parts, key=lambda each: each.age)
    return [each for each in ordered if each.state is not AnomalyState.FALSE_POSITIVE] or ordered


def is_false(parts: Sequence[Part]) -> bool:
    """Whether people called each of the anomalies a false positive."""
    return all(each.state is AnomalyState.FALSE_POSITIVE for each in parts)


def severity(parts: Sequence[Part]) -> Severity:
    """The worst."""
    return max((each.severity for each in parts), key=_GRAVITY.index)


def quiet_since(parts: Sequence[Part]) -> datetime | None:
    """When the last of them was over; None while one goes on."""
    ends = [each.end for each in parts]
    return None if None in ends else max(end for end in ends if end is not None)


def title(lead: str, service: str | None, parts: Sequence[Part]) -> str:
    """Such as: Latency (p95 of x) of shop rose to 612 ms; with it 3 more anomalies of shop, cart and mail.

    `lead` is the title of the anomaly that it may have begun with, of `service`.
    """
    first = lead.partition("; expected ")[0]
    if (more := len(parts) - 1) == 0:
        return first
    others = sorted({each.service for each in parts if each.service} - {service})
    said = f"{first}; with it {more} more {'anomaly' if more == 1 else 'anomalies'}"
    if not others:
        return said
    named = [*others[:NAMED], *([f"{len(others) - NAMED} more services"] if len(others) > NAMED else [])]
    return f"{said} of {named[0] if len(named) == 1 else ', '.join(named[:-1]) + ' and ' + named[-1]}"


def error_said(parts: Sequence[Part]) -> str | None:
    """What the logs of a service say about errors, where they do."""
    return next((each.logs for each in parts if each.logs and _ERROR.search(each.logs)), None)
