import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import jsonschema

from plumbline_analysis.notifications import alerts, payloads
from plumbline_analysis.notifications.alerts import Alert, Requirement
from plumbline_common.events import (
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    ObjectiveBurning,
    ObjectiveExhausted,
    ObjectiveRecovered,
    VerdictChanged,
)
from plumbline_common.schemas import AlertSeverity, BurnAlert, IncidentSnapshot, Verdict, VerdictState

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
ID = UUID("0190a8a0-0000-7000-8000-000000000001")
SHOP = {ID: Requirement("REQ-42", "Orders are quick", "shop", "web", {"latency": frozenset({"pager"})})}
URL = "https://plumbline.example.org"

TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
ALERT = {
    "status": {"enum": ["firing", "resolved"]}, "labels": TEXTS, "annotations": TEXTS,
    "startsAt": {"format": "date-time"}, "endsAt": {"format": "date-time"}, "generatorURL": TEXT,
    "fingerprint": {"pattern": "^[0-9a-f]{16}$"},
}  # fmt: skip
VERSION_4 = {
    "version": {"const": "4"}, "groupKey": TEXT, "truncatedAlerts": {"type": "integer"},
    "status": {"enum": ["firing", "resolved"]}, "receiver": TEXT, "groupLabels": TEXTS, "commonLabels": TEXTS,
    "commonAnnotations": TEXTS, "externalURL": TEXT,
    "alerts": {"items": {"properties": ALERT, "required": list(ALERT), "additionalProperties": False}},
}  # fmt: skip
"""As Alertmanager documents `webhook_config`."""


def incident(**members: Any) -> IncidentSnapshot:
    given: dict[str, Any] = {
        "id": UUID(int=5),
        "revision": 1,
        "state": "open",
        "severity": "critical",
        "title": "Latency of shop rose",
        "services": ["cart", "shop"],
        "requirement_ids": [ID],
        "onset": AT,
        "quiet_since": None,
        "anomaly_count": 2,
        "anomalies": [],
        "origins": [
            {
                "service": "shop",
                "anomaly_id": UUID(int=6),
                "title": "Latency of shop rose",
                "score": 0.5,
                "reasons": [{"kind": "onset", "text": "it began first", "weight": 0.3}],
            }
        ],
        "comments": [],
        "opened_at": AT,
    }
    return IncidentSnapshot.model_validate(given | members)


def objective(kind: Any, **members: Any) -> Any:
    given = {"requirement_id": ID, "requirement_revision": 3, "slo": "latency", "objective": 0}
    return kind(**given | {"burn_rate": 14.44, "budget_remaining": 0.5, "at": AT} | members)


def verdict(state: VerdictState) -> VerdictChanged:
    found = Verdict(
        requirement_id=ID, revision=3, state=state, previous=None, window_start=AT, window_end=AT, objectives=[],
        anomalies=[], reason="latency 0 is spent",
    )  # fmt: skip
    return VerdictChanged(verdict=found, changed_at=AT)


def made(event: Any) -> Alert:
    return alerts.of(event, AT, SHOP)


# --- From events to alerts --------------------------------------------------------------------------------


def test_an_incident_is_one_alert_from_its_opening_to_its_end() -> None:
    opened = made(IncidentOpened(incident=incident()))
    updated = made(IncidentUpdated(incident=incident(severity="warning", title="Another"), change="anomalies"))
    closed = made(IncidentClosed(incident=incident(state="resolved", resolved_at=AT + timedelta(hours=1))))
    assert opened.fingerprint == updated.fingerprint == closed.fingerprint
    assert [each.event for each in (opened, updated, closed)] == [
        "incident.opened",
        "incident.updated",
        "incident.closed",
    ]
    assert [each.firing for each in (opened, updated, closed)] == [True, True, False]
    assert closed.ends_at == AT + timedelta(hours=1)
    assert opened.labels == {
        "alertname": "PlumblineIncident", "incident": str(UUID(int=5)), "severity": "critical", "service": "shop",
        "team": "web",
    }  # fmt: skip
    assert opened.annotations["description"] == (
        "open, 2 anomalies, of cart, shop, probably from shop (it began first)"
    )
    assert made(IncidentUpdated(incident=incident(), change="reopened")).event == "incident.opened"
    assert made(IncidentOpened(incident=incident(id=UUID(int=7)))).fingerprint != opened.fingerprint


def test_a_comment_on_an_incident_that_is_over_lights_no_alert() -> None:
    over = incident(state="resolved", resolved_at=AT, comments=[{"at": AT, "by": "sre", "text": "it was the cache"}])
    said = made(IncidentUpdated(incident=over, change="commented"))
    assert (said.event, said.firing, said.ends_at) == ("incident.updated", False, AT)


def test_an_objective_burns_is_spent_and_recovers_under_one_fingerprint() -> None:
    page = BurnAlert(severity=AlertSeverity.PAGE, rate=14.4, long_seconds=3600, short_seconds=300)
    burning, paging, spent, over = (
        made(objective(ObjectiveBurning)),
        made(objective(ObjectiveBurning, alert=page)),
        made(objective(ObjectiveExhausted)),
        made(objective(ObjectiveRecovered)),
    )
    assert len({each.fingerprint for each in (burning, paging, spent, over)}) == 1
    assert [each.severity for each in (burning, paging, spent)] == ["warning", "critical", "critical"]
    assert [each.firing for each in (burning, spent, over)] == [True, True, False]
    assert burning.named == ["pager"]
    assert burning.annotations["summary"] == (
        "REQ-42 latency: the error budget burns 14.4 times as fast as it may; 50% of the budget is left"
    )
    assert made(objective(ObjectiveBurning, objective=1)).fingerprint != burning.fingerprint
    assert made(objective(ObjectiveBurning, slo="errors")).named == []


def test_a_verdict_goes_on_until_it_is_met() -> None:
    states = (VerdictState.VIOLATED, VerdictState.AT_RISK, VerdictState.NO_DATA, VerdictState.MET)
    told = [made(verdict(state)) for state in states]
    assert [each.firing for each in told] == [True, True, True, False]
    assert [each.severity for each in told[:3]] == ["critical", "warning", "info"]
    assert told[0].annotations["summary"] == "REQ-42 is VIOLATED: latency 0 is spent"


def test_what_is_not_known_of_a_requirement_is_left_out() -> None:
    alone = alerts.of(objective(ObjectiveBurning), AT, {})
    assert {"service", "team", "requirement"}.isdisjoint(alone.labels)
    assert (alone.services, alone.teams, alone.named) == ([], [], [])


# --- From alerts to bodies --------------------------------------------------------------------------------


def test_the_payload_is_alertmanagers_version_4() -> None:
    over = made(objective(ObjectiveRecovered))
    body = payloads.alertmanager(
        "pager", {"service": "shop"}, [made(objective(ObjectiveExhausted, slo="x")), over], URL
    )
    jsonschema.validate(body, {"properties": VERSION_4, "required": list(VERSION_4), "additionalProperties": False})
    assert body["status"] == "firing"
    assert body["groupKey"] == '{}:{service="shop"}'
    assert body["commonLabels"] == {
        "alertname": "PlumblineObjective", "objective": "0", "requirement": "REQ-42", "requirement_id": str(ID),
        "service": "shop", "team": "web",
    }  # fmt: skip
    assert body["commonAnnotations"] == {"description": "Orders are quick"}
    firing, resolved = body["alerts"]
    assert (firing["status"], firing["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert (resolved["status"], resolved["endsAt"]) == ("resolved", "2026-11-01T12:00:00Z")
    assert firing["generatorURL"] == f"{URL}/api/v1/requirements/{ID}"
    assert payloads.alertmanager("pager", {}, [over], URL)["status"] == "resolved"


def test_long_groups_are_cut_and_say_by_how_much() -> None:
    many = [made(IncidentOpened(incident=incident(id=UUID(int=number)))) for number in range(1, 104)]
    body = payloads.alertmanager("pager", {}, many, URL)
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (100, 3)
    text = payloads.text(many, "")
    assert text.count("\n") == 10
    assert text.endswith("… and 93 more")


def test_the_plain_payload_is_a_cloudevent_with_a_text() -> None:
    there = timezone(timedelta(hours=2))
    opened = made(IncidentOpened(incident=incident(onset=AT.astimezone(there))))
    body = json.loads(payloads.body("plumbline", ID, "chat", {"service": "shop"}, [opened], URL, AT))
    assert body["text"] == f"🔥 [critical] Latency of shop rose {URL}/api/v1/incidents/{UUID(int=5)}"
    assert {name: body[name] for name in ("specversion", "id", "type", "time")} == {
        "specversion": "1.0",
        "id": str(ID),
        "type": "plumbline.analysis.notification.v1",
        "time": "2026-11-01T12:00:00Z",
    }
    (told,) = body["data"]["alerts"]
    assert told["starts_at"] == "2026-11-01T12:00:00Z"
    assert told["data"]["incident"]["title"] == "Latency of shop rose"


def test_events_are_left_out_where_they_would_be_too_much() -> None:
    large = made(IncidentOpened(incident=incident(title="x" * (payloads.MOST_BYTES * 2 // 3))))
    body = json.loads(payloads.body("plumbline", ID, "chat", {}, [large, large], URL, AT))
    assert [each["data"] is None for each in body["data"]["alerts"]] == [False, True]
