"""The bodies of notifications: Alertmanager's webhook of version 4, and Plumbline's own."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from plumbline_analysis.notifications.alerts import Alert
from plumbline_analysis.notifications.rules import group_key

MOST_ALERTS = 100
MOST_BYTES = 256 * 1024
"""Of the events that a message holds, written as JSON."""
_MARKS = {True: "🔥", False: "✅"}
_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time: how Alertmanager writes that an alert has not ended."""


def alertmanager(
    receiver: str, group: Mapping[str, str], alerts: Sequence[Alert], external_url: str
) -> dict[str, Any]:
    """https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""
    shown = alerts[:MOST_ALERTS]
    return {
        "version": "4",
        "groupKey": group_key(group),
        "truncatedAlerts": len(alerts) - len(shown),
        "status": _status(alerts),
        "receiver": receiver,
        "groupLabels": dict(group),
        "commonLabels": _common([each.labels for each in alerts]),
        "commonAnnotations": _common([each.annotations for each in alerts]),
        "externalURL": external_url,
        "alerts": [
            {
                "status": _status([each]),
                "labels": each.labels,
                "annotations": each.annotations,
                "startsAt": _written(each.starts_at),
                "endsAt": _NEVER if each.ends_at is None else _written(each.ends_at),
                "generatorURL": external_url + each.path,
                "fingerprint": each.fingerprint,
            }
            for each in shown
        ],
    }


def plumbline(
    id: UUID, receiver: str, group: Mapping[str, str], alerts: Sequence[Alert], external_url: str, now: datetime
) -> dict[str, Any]:
    """A structured CloudEvent with the lines for a chat as its extension `text`."""
    shown = alerts[:MOST_ALERTS]
    sizes = itertools.accumulate(len(orjson.dumps(each.data)) for each in shown)
    return {
        "specversion": "1.0",
        "id": str(id),
        "source": "/plumbline/analysis",
        "type": "plumbline.analysis.notification.v1",
        "time": _written(now),
        "datacontenttype": "application/json",
        "text": text(alerts, external_url),
        "data": {
            "receiver": receiver,
            "status": _status(alerts),
            "group": dict(group),
            "truncated": len(alerts) - len(shown),
            "alerts": [
                {
                    "fingerprint": each.fingerprint,
                    "status": _status([each]),
                    "event": each.event,
                    "severity": each.severity,
                    "summary": each.annotations["summary"],
                    "description": each.annotations.get("description", ""),
                    "labels": each.labels,
                    "starts_at": _written(each.starts_at),
                    "ends_at": None if each.ends_at is None else _written(each.ends_at),
                    "url": external_url + each.path,
                    "data": each.data if size <= MOST_BYTES else None,
                }
                for each, size in zip(shown, sizes, strict=True)
            ],
        },
    }


_LINES = 10


def text(alerts: Sequence[Alert], external_url: str) -> str:
    """A line for each alert, at most `_LINES` and one that says how many more there are."""
    lines = [
        f"{_MARKS[each.firing]} [{each.severity if each.firing else 'resolved'}] {each.annotations['summary']}"
        + (f" {external_url}{each.path}" if external_url else "")
        for each in alerts[:_LINES]
    ]
    if len(alerts) > _LINES:
        lines.append(f"… and {len(alerts) - _LINES} more")
    return "\n".join(lines)


def body(
    form: str,
    id: UUID,
    receiver: str,
    group: Mapping[str, str],
    alerts: Sequence[Alert],
    external_url: str,
    now: datetime,
) -> str:
    """The JSON of the target's format."""
    if form == "alertmanager":
        made = alertmanager(receiver, group, alerts, external_url)
    else:
        made = plumbline(id, receiver, group, alerts, external_url, now)
    return orjson.dumps(made).decode()


def _status(alerts: Sequence[Alert]) -> str:
    return "firing" if any(each.firing for each in alerts) else "resolved"


def _common(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The pairs that all have."""
    first, *others = each
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
