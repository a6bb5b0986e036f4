from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from lifecycle import created

PATH = "/api/v1/adjustments"
NOW = datetime.now(UTC).replace(microsecond=0)


def wanted(*requirements: str, **members: Any) -> dict[str, Any]:
    content = {
        "category": "maintenance",
        "reason": "the databases move",
        "starts_at": (NOW - timedelta(hours=1)).isoformat(),
        "duration": "2h",
    }
    return content | ({"requirement_ids": list(requirements)} if requirements else {}) | members


async def asked(client: httpx.AsyncClient, *requirements: str, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=wanted(*requirements, **members))
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def decided(client: httpx.AsyncClient, made: dict[str, Any], decision: str = "approve") -> httpx.Response:
    headers = {"If-Match": f'"{made["revision"]}"'}
    return await client.post(f"{PATH}/{made['id']}/decision", json={"decision": decision}, headers=headers)


async def revoked(client: httpx.AsyncClient, made: dict[str, Any]) -> httpx.Response:
    headers = {"If-Match": f'"{made["revision"]}"'}
    return await client.post(f"{PATH}/{made['id']}/revocation", json={"reason": "done early"}, headers=headers)


async def told(app: Any, id: str) -> list[dict[str, Any]]:
    """The events of an adjustment, as they are staged."""
    async with app.state.read_sessions() as session:
        rows = await session.execute(
            text(
                "SELECT data::jsonb AS data FROM outbox WHERE key = :id"
                " AND subject = 'requirements.budget.adjusted.v1' ORDER BY seq"
            ),
            {"id": id},
        )
        return [row.data["adjustment"] for row in rows]


@pytest.fixture
async def requirement(alice: httpx.AsyncClient) -> str:
    return str((await created(alice, owner_team="payments", service="shop"))["id"])


async def test_an_adjustment_is_asked_for_approved_told_and_cut_short(
    app: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, requirement: str
) -> None:
    response = await alice.post(PATH, json=wanted(requirement, recurrence="FREQ=DAILY;COUNT=3"))
    made = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert (made["status"], made["active"], made["count"], made["requested_by"]) == ("requested", False, 3, "alice")
    begin = NOW - timedelta(hours=1)
    days = [begin + timedelta(days=place) for place in range(3)]
    assert [datetime.fromisoformat(each["start"]) for each in made["windows"]] == days
    assert datetime.fromisoformat(made["next_start"]) == days[1]
    assert await told(app, made["id"]) == []
    assert (await alice.get(response.headers["location"])).json() == made

    approved = (await decided(rita, made)).json()
    assert (approved["status"], approved["active"], approved["decided_by"]) == ("approved", True, "rita")
    (event,) = await told(app, made["id"])
    assert (event["revision"], event["windows"]) == (2, made["windows"])
    assert (event["requirement_ids"], event["service"]) == ([requirement], None)

    answer = await revoked(alice, approved)
    cut = answer.json()
    assert (cut["status"], cut["active"], cut["count"], cut["next_start"]) == ("revoked", False, 1, None)
    assert cut["windows"][0]["start"] == made["windows"][0]["start"]
    assert NOW <= datetime.fromisoformat(cut["windows"][0]["end"]) <= datetime.now(UTC)
    assert [each["windows"] for each in await told(app, made["id"])] == [made["windows"], cut["windows"]]
    items = (await caller("admin").get("/api/v1/audit", params={"entity_id": made["id"]})).json()["items"]
    assert [item["entry"]["action"] for item in items] == ["revoked", "approved", "requested"]


async def test_what_is_rejected_is_told_to_nobody(
    app: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient, requirement: str
) -> None:
    made = await asked(alice, requirement)
    assert (await decided(rita, made, "reject")).json()["status"] == "rejected"
    assert await told(app, made["id"]) == []
    assert (await revoked(rita, made | {"revision": 2})).status_code == 409


async def test_who_asks_cannot_decide_and_what_is_over_cannot_be_revoked(
    caller: Any, rita: httpx.AsyncClient, requirement: str
) -> None:
    both = caller("editor", "reviewer", subject="bob")
    made = await asked(both, requirement, duration="30m")
    assert (await decided(both, made)).json()["type"] == "urn:plumbline:problem:own-request"
    over = (await decided(rita, made)).json()
    assert (over["status"], over["active"]) == ("expired", False), "of an outage in the past"
    refused = await revoked(rita, over)
    assert (refused.status_code, refused.json()["legal"]) == (409, [])


async def test_only_ones_own_and_only_admins_a_whole_service(
    alice: httpx.AsyncClient, caller: Any, requirement: str, rita: httpx.AsyncClient
) -> None:
    others = caller("editor", subject="sam", teams=("search",))
    for body in (wanted(requirement), wanted(service="shop", team="payments")):
        assert (await others.post(PATH, json=body)).status_code == 403
    whole = await alice.post(PATH, json=wanted(service="shop"))
    assert (whole.status_code, whole.json()["errors"][0]["pointer"]) == (403, "/team")
    admin = caller("admin", subject="root")
    assert (await asked(admin, service="shop"))["team"] is None
    own = await asked(alice, service="shop", team="payments")
    approved = (await decided(rita, own)).json()
    assert (await revoked(others, approved)).status_code == 403
    assert (await revoked(alice, approved)).status_code == 200


async def test_they_are_found_by_what_they_reach(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, requirement: str
) -> None:
    other = (await created(alice, owner_team="payments", service="till"))["id"]
    named = await asked(alice, requirement)
    of_service = await asked(alice, service="shop", team="payments", category="load_test")
    whole = await asked(caller("admin", subject="root"), service="shop")
    elsewhere = await asked(alice, other)
    await decided(rita, named)

    async def found(**query: str) -> set[str]:
        return {each["id"] for each in (await alice.get(PATH, params=query)).json()["items"]}

    assert await found(requirement_id=requirement) == {named["id"], of_service["id"], whole["id"]}
    assert await found(requirement_id=other) == {elsewhere["id"]}
    assert await found(service="shop") == {of_service["id"], whole["id"]}
    assert await found(category="load_test") == {of_service["id"]}
    assert await found(status="approved") == {named["id"]}
    page = (await alice.get(PATH, params={"limit": 1})).json()
    assert (page["total"], page["items"][0]["id"], "windows" in page["items"][0]) == (4, elsewhere["id"], False)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"requirement_ids": []}, ""),
        ({"service": "shop"}, ""),
        ({"team": "payments"}, ""),
        ({"requirement_ids": [str(uuid4())]}, "/requirement_ids/0"),
        ({"duration": "0m"}, "/duration"),
        ({"duration": "2M"}, "/duration"),
        ({"duration": "32d"}, "/duration"),
        ({"starts_at": "2026-02-30T00:00:00Z"}, "/starts_at"),
        ({"starts_at": "2026-02-03T00:00:00"}, "/starts_at"),
        ({"starts_at": (NOW - timedelta(days=400)).isoformat()}, "/starts_at"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"recurrence": "FREQ=WEEKLY"}, "/recurrence"),
        ({"reason": " "}, "/reason"),
        ({"category": "holiday"}, "/category"),
    ],
)
async def test_bad_input_is_told_by_its_member(
    alice: httpx.AsyncClient, requirement: str, members: dict[str, Any], pointer: str
) -> None:
    answer = await alice.post(PATH, json=wanted(requirement) | members)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text
    assert (await alice.get(PATH)).json()["total"] == 0
