import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from plumbline_analysis.models import VerdictRecord
from plumbline_common import db
from plumbline_common.schemas import utc

PATH = "/api/v1/incidents"
REQUIREMENT = UUID("0190a8a0-0000-7000-8000-000000000001")


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
async def incident(app: Any, shop: Any, viewer: httpx.AsyncClient) -> dict[str, Any]:
    """Of two anomalies of a shop and its cart, which go on."""
    await shop.calls(("shop", "cart"))
    await shop.depart("shop", 10, requirement_id=REQUIREMENT, requirement_revision=1)
    await shop.depart("cart", 11)
    await shop.pass_to(12)
    (found,) = (await viewer.get(PATH)).json()["items"]
    return dict(found)


async def act(
    client: httpx.AsyncClient, incident: dict[str, Any], verb: str, body: Any = None, match: str | None = "*"
) -> httpx.Response:
    headers = {"If-Match": match} if match else {}
    return await client.post(f"{PATH}/{incident['id']}/{verb}", json=body, headers=headers)


async def timeline(client: httpx.AsyncClient, incident: dict[str, Any], **asked: Any) -> dict[str, Any]:
    reply = await client.get(f"{PATH}/{incident['id']}/timeline", params=asked)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def last_told(app: Any) -> tuple[str, dict[str, Any]]:
    async with app.state.read_sessions() as session:
        rows = await session.execute(text("SELECT subject, data FROM outbox ORDER BY seq DESC LIMIT 1"))
        row = rows.one()
        return row.subject.split(".")[2], json.loads(row.data)


async def test_incidents_are_listed_and_filtered(viewer: httpx.AsyncClient, shop: Any, incident: Any) -> None:
    later = await shop.depart("mail", 20)
    await shop.pass_to(21)

    async def listed(**asked: Any) -> list[list[str]]:
        page = (await viewer.get(PATH, params=asked)).json()
        assert page["total"] >= len(page["items"])
        return [each["services"] for each in page["items"]]

    both, first = [["mail"], ["cart", "shop"]], [["cart", "shop"]]
    assert await listed() == both
    assert await listed(sort="onset", limit=1) == first
    assert await listed(skip=1) == first
    assert await listed(state="open") == both
    assert await listed(state="resolved") == []
    assert await listed(service="cart") == first
    assert await listed(requirement_id=str(REQUIREMENT)) == first
    assert await listed(anomaly_id=str(later)) == [["mail"]]
    assert await listed(since=utc(shop.at(15))) == [["mail"]]
    assert await listed(until=utc(shop.at(15))) == first
    for wrong in ({"state": "loud"}, {"limit": 101}, {"since": "noon"}, {"requirement_id": "REQ-1"}):
        assert (await viewer.get(PATH, params=wrong)).status_code == 422


async def test_one_incident_tells_where_it_may_have_begun_and_of_its_anomalies(
    viewer: httpx.AsyncClient, incident: Any
) -> None:
    reply = await viewer.get(f"{PATH}/{incident['id']}")
    assert (reply.json(), reply.headers["etag"]) == (incident, '"1"')
    assert incident["title"] == "Latency of cart rose to 612 ms; with it 1 more anomaly of shop"
    assert [each["service"] for each in incident["origins"]] == ["cart", "shop"]
    assert [each["service"] for each in incident["anomalies"]] == ["shop", "cart"]
    page = (await viewer.get(f"{PATH}/{incident['id']}/anomalies", params={"limit": 1})).json()
    assert (page["total"], page["items"][0]["id"]) == (2, incident["anomalies"][0]["id"])
    for place in ("", "/anomalies", "/timeline"):
        assert (await viewer.get(f"{PATH}/{REQUIREMENT}{place}")).status_code == 404


async def test_an_incident_is_acknowledged_once_at_the_present_revision(
    app: Any, operator: httpx.AsyncClient, incident: Any
) -> None:
    assert (await act(operator, incident, "acknowledge", match=None)).status_code == 428
    stale = await act(operator, incident, "acknowledge", match='"9"')
    assert (stale.status_code, stale.headers["etag"]) == (412, '"1"')
    reply = await act(operator, incident, "acknowledge", match='"1"')
    after = reply.json()
    assert (reply.status_code, reply.headers["etag"]) == (200, '"2"')
    assert (after["state"], after["acknowledged_by"]) == ("acknowledged", "alice")
    assert await last_told(app) == ("updated", {"incident": after, "change": "acknowledged"})
    refused = (await act(operator, incident, "acknowledge")).json()
    assert (refused["status"], refused["legal"]) == (409, ["resolved", "merged"])


async def test_what_a_person_resolved_stays_so_while_its_anomalies_go_on(
    app: Any, operator: httpx.AsyncClient, shop: Any, incident: Any
) -> None:
    resolved = (await act(operator, incident, "resolve", {"reason": "The network moved"})).json()
    assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "alice")
    assert await last_told(app) == ("closed", {"incident": resolved})
    await shop.change(UUID(incident["anomalies"][0]["id"]), severity="critical")
    await shop.pass_to(13)
    assert ((await shop.incident()).state, (await shop.incident()).severity) == ("resolved", "critical")
    refused = (await act(operator, incident, "resolve")).json()
    assert (refused["status"], refused["legal"]) == (409, ["merged"])


async def test_comments_are_kept_and_told(
    app: Any, operator: httpx.AsyncClient, viewer: httpx.AsyncClient, incident: Any
) -> None:
    reply = await act(operator, incident, "comments", {"text": " The database moves "})
    assert (reply.status_code, reply.headers["etag"]) == (201, '"2"')
    after = (await viewer.get(f"{PATH}/{incident['id']}")).json()
    assert after["comments"] == [reply.json()]
    assert reply.json() | {"by": "alice", "text": "The database moves"} == reply.json()
    assert await last_told(app) == ("updated", {"incident": after, "change": "commented"})
    for wrong in ({}, {"text": "  "}, {"text": "a\x00b"}, {"text": "x" * 2001}):
        assert (await act(operator, incident, "comments", wrong)).status_code == 422
    assert (await act(viewer, incident, "comments", {"text": "me too"})).status_code == 403


async def test_a_request_that_is_sent_again_is_done_once(operator: httpx.AsyncClient, incident: Any) -> None:
    async def commented() -> httpx.Response:
        place, headers = f"{PATH}/{incident['id']}/comments", {"Idempotency-Key": "1"}
        return await operator.post(place, json={"text": "once"}, headers=headers)

    assert (await commented()).json() == (await commented()).json()
    assert len((await operator.get(f"{PATH}/{incident['id']}")).json()["comments"]) == 1


async def test_what_a_person_splits_stays_apart_until_a_person_merges_it(
    app: Any, operator: httpx.AsyncClient, viewer: httpx.AsyncClient, shop: Any, incident: Any
) -> None:
    of_cart = incident["anomalies"][1]["id"]
    reply = await act(operator, incident, "split", {"anomaly_ids": [of_cart]}, '"1"')
    made = reply.json()
    assert (reply.status_code, reply.headers["location"]) == (201, f"{PATH}/{made['id']}")
    assert (made["services"], made["state"], made["split_from"]) == (["cart"], "open", incident["id"])
    assert (await last_told(app))[1]["incident"]["services"] == ["shop"]
    await shop.depart("shop", 12)
    await shop.pass_to(13)
    assert [each.services for each in await shop.incidents()] == [["shop"], ["cart"]]
    merged = (await act(operator, made, "merge", {"into": incident["id"]})).json()
    assert (merged["id"], merged["services"], merged["anomaly_count"]) == (incident["id"], ["cart", "shop"], 3)
    gone = (await viewer.get(f"{PATH}/{made['id']}")).json()
    assert (gone["state"], gone["merged_into"]) == ("merged", incident["id"])
    refused = (await act(operator, made, "comments", {"text": "here"})).json()
    assert (refused["status"], refused["merged_into"]) == (409, incident["id"])
    assert [each["kind"] for each in (await timeline(viewer, merged))["items"] if each["actor"]] == [
        "opened",
        "split",
        "merged",
        "merged",
    ]


async def test_what_cannot_be_split_or_merged_is_told_with_the_reason(
    operator: httpx.AsyncClient, shop: Any, incident: Any
) -> None:
    other = await shop.depart("mail", 12)
    await shop.pass_to(13)
    foreign = (await act(operator, incident, "split", {"anomaly_ids": [str(other)]})).json()
    assert (foreign["status"], foreign["errors"][0]["pointer"]) == (422, "/anomaly_ids/0")
    whole = [each["id"] for each in incident["anomalies"]]
    assert (await act(operator, incident, "split", {"anomaly_ids": whole})).json()["status"] == 409
    assert (await act(operator, incident, "split", {"anomaly_ids": []})).status_code == 422
    for into in (incident["id"], str(other)):
        refused = (await act(operator, incident, "merge", {"into": into})).json()
        assert (refused["status"], refused["errors"][0]["pointer"]) == (422, "/into")
    of_mail = next(each for each in await shop.incidents() if each.services == ["mail"])
    await act(operator, {"id": of_mail.id}, "resolve", {})
    over = (await act(operator, incident, "merge", {"into": str(of_mail.id)})).json()
    assert (over["status"], over["type"]) == (409, "urn:plumbline:problem:incident-not-ongoing")
    assert (await act(operator, {"id": of_mail.id}, "split", {"anomaly_ids": [str(other)]})).status_code == 409


async def test_the_timeline_tells_what_happened_in_its_order(
    operator: httpx.AsyncClient, viewer: httpx.AsyncClient, shop: Any, incident: Any
) -> None:
    await shop.deploy("cart", "1.4.2", 5)
    await shop.deploy("mail", "2.0", 6)
    await shop.deploy("cart", "1.0", -120)
    verdict = {"reason": "the budget burns"}
    async with shop.sessions.begin() as session:
        session.add(
            VerdictRecord(
                id=db.new_id(),
                requirement_id=REQUIREMENT,
                revision=1,
                state="AT_RISK",
                changed_at=shop.at(11.5),
                verdict=verdict,
            )
        )
    await act(operator, incident, "comments", {"text": "The database moves"})
    await shop.end(UUID(incident["anomalies"][0]["id"]), 14)
    whole = await timeline(viewer, incident)
    assert [(each["kind"], each["text"]) for each in whole["items"]] == [
        ("deployment", "cart 1.4.2 was deployed"),
        ("anomaly_began", "Latency of shop rose to 612 ms; expected 20 ms (10 ms–50 ms)"),
        ("anomaly_began", "Latency of cart rose to 612 ms; expected 20 ms (10 ms–50 ms)"),
        ("verdict_changed", "AT_RISK: the budget burns"),
        ("opened", incident["title"]),
        ("anomaly_ended", "Latency of shop rose to 612 ms; expected 20 ms (10 ms–50 ms)"),
        ("commented", "The database moves"),
    ]
    assert whole["items"][0]["at"] == utc(shop.at(5)).replace(".000000", "")
    assert whole["total"] == 7
    assert (await timeline(viewer, incident, skip=2, limit=2))["items"] == whole["items"][2:4]
    assert await timeline(viewer, incident, skip=50) == {"items": [], "total": 7}
