"""Events as alerts: what goes on, under a fingerprint that stays the same from its beginning to its end."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime

from plumbline_common.events import (
    Event,
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    ObjectiveBurning,
    ObjectiveExhausted,
    ObjectiveRecovered,
    VerdictChanged,
)
from plumbline_common.schemas import AlertSeverity, IncidentSnapshot, IncidentState, Schema, Severity, VerdictState

EventName = Literal[
    "incident.opened",
    "incident.updated",
    "incident.closed",
    "objective.burning",
    "objective.exhausted",
    "objective.recovered",
    "verdict.changed",
]
TOLD = (
    IncidentOpened,
    IncidentUpdated,
    IncidentClosed,
    ObjectiveBurning,
    ObjectiveExhausted,
    ObjectiveRecovered,
    VerdictChanged,
)
"""The events that alerts are made of."""

_SEVERITIES = {
    VerdictState.VIOLATED: Severity.CRITICAL,
    VerdictState.AT_RISK: Severity.WARNING,
    VerdictState.NO_DATA: Severity.INFO,
    VerdictState.MET: Severity.INFO,
}
_LONGEST = 1000


@dataclass(frozen=True)
class Requirement:
    """What alerts say of a requirement."""

    key: str
    title: str
    service: str | None
    owner_team: str | None
    targets: Mapping[str, frozenset[str]]
    """By SLO the notification targets that its alert policies name."""


class Alert(Schema):
    """What goes on (`firing`) or is over, as its latest event tells."""

    fingerprint: str
    """16 hexadecimal digits, from what identifies it: the incident; the requirement; its SLO and objective."""
    event: EventName
    firing: bool
    severity: Severity
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None
    path: str
    """Where the API shows it."""
    services: list[str]
    teams: list[str]
    requirement_ids: list[UUID]
    named: list[str]
    """The targets that the alert policies of its SLO name."""
    data: dict[str, Any]
    """Of the event."""


def of(event: Event, at: datetime, requirements: Mapping[UUID, Requirement]) -> Alert:
    """`event` is one of `TOLD`, from the time `at`."""
    match event:
        case IncidentOpened() | IncidentUpdated() | IncidentClosed():
            return _of_incident(event, at, requirements)
        case ObjectiveBurning() | ObjectiveExhausted() | ObjectiveRecovered():
            return _of_objective(event, requirements.get(event.requirement_id))
        case VerdictChanged():
            return _of_verdict(event, requirements.get(event.verdict.requirement_id))
    raise TypeError(f"{type(event).__name__} is not told")


def requirement_ids(event: Event) -> Iterable[UUID]:
    """Those that `of` wants to know of."""
    match event:
        case IncidentOpened() | IncidentUpdated() | IncidentClosed():
            return event.incident.requirement_ids
        case ObjectiveBurning() | ObjectiveExhausted() | ObjectiveRecovered():
            return [event.requirement_id]
        case VerdictChanged():
            return [event.verdict.requirement_id]
    return []


def fingerprint(*identity: str) -> str:
    return hashlib.blake2b("\x1f".join(identity).encode(), digest_size=8).hexdigest()


# --- Incidents ------------------------------------------------------------------------------------------


def _of_incident(
    event: IncidentOpened | IncidentUpdated | IncidentClosed,
    at: datetime,
    requirements: Mapping[UUID, Requirement],
) -> Alert:
    incident = event.incident
    # One that is over is still commented on, and its anomalies still change.
    is_over = incident.state not in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    about = [requirements[id] for id in incident.requirement_ids if id in requirements]
    teams = sorted({each.owner_team for each in about if each.owner_team})
    service = incident.origins[0].service if incident.origins else None
    labels = {
        "alertname": "PlumblineIncident",
        "incident": str(incident.id),
        "severity": incident.severity,
        "service": service or (incident.services[0] if incident.services else ""),
        "team": teams[0] if len(teams) == 1 else "",
    }
    return Alert(
        fingerprint=fingerprint("incident", str(incident.id)),
        event=_name_of_incident(event),
        firing=not is_over,
        severity=incident.severity,
        labels=_given(labels),
        annotations={"summary": incident.title, "description": _described(incident)},
        starts_at=incident.onset,
        ends_at=(incident.resolved_at or at) if is_over else None,
        path=f"/api/v1/incidents/{incident.id}",
        services=incident.services,
        teams=teams,
        requirement_ids=incident.requirement_ids,
        named=[],
        data=event.model_dump(mode="json"),
    )


def _name_of_incident(event: IncidentOpened | IncidentUpdated | IncidentClosed) -> EventName:
    if isinstance(event, IncidentClosed):
        return "incident.closed"
    if isinstance(event, IncidentUpdated) and event.change != "reopened":
        return "incident.updated"
    return "incident.opened"


def _described(incident: IncidentSnapshot) -> str:
    count = incident.anomaly_count
    said = [f"{incident.state}, {count} {'anomaly' if count == 1 else 'anomalies'}"]
    if incident.services:
        said.append("of " + ", ".join(incident.services[:10]))
    if incident.origins:
        first = incident.origins[0]
        reasons = "; ".join(each.text for each in first.reasons)
        said.append(f"probably from {first.service or first.title}" + (f" ({reasons})" if reasons else ""))
    if incident.merged_into is not None:
        said.append(f"part of {incident.merged_into}")
    return ", ".join(said)[:_LONGEST]


# --- Objectives and verdicts ----------------------------------------------------------------------------


def _of_objective(
    event: ObjectiveBurning | ObjectiveExhausted | ObjectiveRecovered, about: Requirement | None
) -> Alert:
    severity, name, said = _objective(event)
    key = about.key if about else str(event.requirement_id)
    labels = _labels("PlumblineObjective", event.requirement_id, about, severity)
    labels |= {"slo": event.slo, "objective": str(event.objective)}
    is_over = isinstance(event, ObjectiveRecovered)
    return Alert(
        fingerprint=fingerprint("objective", str(event.requirement_id), event.slo, str(event.objective)),
        event=name,
        firing=not is_over,
        severity=severity,
        labels=labels,
        annotations={"summary": f"{key} {event.slo}: {said}", "description": about.title if about else ""},
        starts_at=event.at,
        ends_at=event.at if is_over else None,
        path=f"/api/v1/requirements/{event.requirement_id}",
        services=[about.service] if about and about.service else [],
        teams=[about.owner_team] if about and about.owner_team else [],
        requirement_ids=[event.requirement_id],
        named=sorted(about.targets.get(event.slo, ())) if about else [],
        data=event.model_dump(mode="json"),
    )


def _objective(
    event: ObjectiveBurning | ObjectiveExhausted | ObjectiveRecovered,
) -> tuple[Severity, EventName, str]:
    left = "" if event.budget_remaining is None else f"; {event.budget_remaining:.0%} of the budget is left"
    match event:
        case ObjectiveBurning():
            pages = event.alert is not None and event.alert.severity is AlertSeverity.PAGE
            rate = "too fast" if event.burn_rate is None else f"{event.burn_rate:.3g} times as fast as it may"
            return (
                Severity.CRITICAL if pages else Severity.WARNING,
                "objective.burning",
                f"the error budget burns {rate}{left}",
            )
        case ObjectiveExhausted():
            return Severity.CRITICAL, "objective.exhausted", "the error budget is spent"
    return Severity.INFO, "objective.recovered", f"it has recovered{left}"


def _of_verdict(event: VerdictChanged, about: Requirement | None) -> Alert:
    verdict = event.verdict
    severity = _SEVERITIES[verdict.state]
    is_met = verdict.state is VerdictState.MET
    key = about.key if about else str(verdict.requirement_id)
    return Alert(
        fingerprint=fingerprint("verdict", str(verdict.requirement_id)),
        event="verdict.changed",
        firing=not is_met,
        severity=severity,
        labels=_labels("PlumblineVerdict", verdict.requirement_id, about, severity),
        annotations={
            "summary": f"{key} is {verdict.state}: {verdict.reason}"[:_LONGEST],
            "description": about.title if about else "",
        },
        starts_at=event.changed_at,
        ends_at=event.changed_at if is_met else None,
        path=f"/api/v1/requirements/{verdict.requirement_id}",
        services=[about.service] if about and about.service else [],
        teams=[about.owner_team] if about and about.owner_team else [],
        requirement_ids=[verdict.requirement_id],
        named=[],
        data=event.model_dump(mode="json"),
    )


def _labels(name: str, id: UUID, about: Requirement | None, severity: Severity) -> dict[str, str]:
    return _given(
        {
            "alertname": name,
            "requirement": about.key if about else "",
            "requirement_id": str(id),
            "service": (about.service if about else None) or "",
            "severity": severity,
            "team": (about.owner_team if about else None) or "",
        }
    )


def _given(labels: Mapping[str, str]) -> dict[str, str]:
    """An empty label is none, as in Prometheus."""
    return {name: str(value) for name, value in labels.items() if value}
