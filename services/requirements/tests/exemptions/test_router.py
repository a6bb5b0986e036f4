import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from lifecycle import PATH as REQUIREMENTS
from lifecycle import created

PATH = "/api/v1/exemptions"
NOW = datetime.now(UTC)


def later(**delta: float) -> str:
    return (NOW + timedelta(**delta)).isoformat()


def wanted(requirement: str, **members: Any) -> dict[str, Any]:
    content = {"requirement_id": requirement, "reason": "a move of data centres"}
    return {**content, "starts_at": later(hours=-1), "expires_at": later(days=7), **members}


async def asked(client: httpx.AsyncClient, requirement: str, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=wanted(requirement, **members))
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def decided(
    client: httpx.AsyncClient, exemption: dict[str, Any], decision: str = "approve", **members: Any
) -> httpx.Response:
    url, etag = f"{PATH}/{exemption['id']}/decision", f'"{exemption["revision"]}"'
    return await client.post(url, json={"decision": decision} | members, headers={"If-Match": etag})


async def revoked(client: httpx.AsyncClient, exemption: dict[str, Any]) -> httpx.Response:
    url, etag = f"{PATH}/{exemption['id']}/revocation", f'"{exemption["revision"]}"'
    return await client.post(url, json={"reason": "the move is off"}, headers={"If-Match": etag})


async def ended(app: Any, exemption: dict[str, Any]) -> None:
    """Let its time be over."""
    async with app.state.sessions.begin() as session:
        await session.execute(
            text("UPDATE exemptions SET expires_at = clock_timestamp() WHERE id = CAST(:id AS uuid)"),
            {"id": exemption["id"]},
        )


async def audited(caller: Any, id: str) -> list[tuple[str, str, str, int]]:
    client = caller("admin", subject="root")
    items = (await client.get("/api/v1/audit", params={"entity_id": id})).json()["items"]
    entries = [item["entry"] for item in items]
    return [(entry["action"], entry["actor"], entry["reason"], entry["revision"]) for entry in entries]


@pytest.fixture
async def requirement(alice: httpx.AsyncClient) -> str:
    return str((await created(alice, owner_team="payments"))["id"])


async def test_an_exemption_is_asked_for_approved_and_revoked(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, requirement: str
) -> None:
    response = await alice.post(PATH, json=wanted(requirement))
    exemption = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert (exemption["status"], exemption["active"], exemption["requested_by"]) == ("requested", False, "alice")
    found = await caller("viewer").get(response.headers["location"])
    assert (found.json(), found.headers["etag"]) == (exemption, '"1"')
    answer = await decided(rita, exemption, comment="until the move is done")
    approved = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (approved["status"], approved["active"], approved["decided_by"]) == ("approved", True, "rita")
    assert (await alice.get(f"{PATH}/{exemption['id']}")).json() == approved
    answer = await revoked(alice, approved)
    gone = answer.json()
    assert (answer.headers["etag"], gone["status"], gone["active"]) == ('"3"', "revoked", False)
    assert (gone["revoked_by"], gone["revocation_reason"]) == ("alice", "the move is off")
    assert (gone["decided_by"], gone["decision_comment"]) == ("rita", "until the move is done")
    assert await audited(caller, exemption["id"]) == [
        ("revoked", "alice", "the move is off", 3),
        ("approved", "rita", "until the move is done", 2),
        ("requested", "alice", "a move of data centres", 1),
    ]


async def test_what_is_not_legal_is_refused_with_what_is(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, requirement: str, app: Any, caller: Any
) -> None:
    def refused(response: httpx.Response, legal: list[str]) -> None:
        body = response.json()
        assert (response.status_code, body["type"]) == (409, "urn:plumbline:problem:illegal-transition")
        assert body["legal"] == legal

    exemption = await asked(alice, requirement)
    refused(await revoked(alice, exemption), ["approved", "rejected"])
    rejected = (await decided(rita, exemption, "reject")).json()
    assert rejected["status"] == "rejected"
    refused(await decided(rita, rejected), [])
    refused(await revoked(alice, rejected), [])
    approved = (await decided(rita, await asked(alice, requirement))).json()
    refused(await decided(rita, approved, "reject"), ["revoked"])
    refused(await decided(rita, (await revoked(rita, approved)).json()), [])
    late = await asked(alice, requirement)
    await ended(app, late)
    refused(await decided(rita, late), [])
    assert (await alice.get(f"{PATH}/{late['id']}")).json()["status"] == "expired"
    assert len(await audited(caller, late["id"])) == 1


async def test_who_asks_cannot_decide(caller: Any, requirement: str) -> None:
    both = caller("editor", "reviewer", subject="bob")
    exemption = await asked(both, requirement)
    refused = await decided(both, exemption)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:plumbline:problem:own-request")
    assert (await both.get(f"{PATH}/{exemption['id']}")).json() == exemption


async def test_only_who_may_asks_decides_and_revokes(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, requirement: str
) -> None:
    other, viewer = caller("editor", subject="sam", teams=("search",)), caller("viewer")
    for client in (other, viewer, rita):
        assert (await client.post(PATH, json=wanted(requirement))).status_code == 403
    exemption = await asked(caller("admin", subject="root", teams=()), requirement)
    for client in (alice, viewer):
        assert (await decided(client, exemption)).status_code == 403
    approved = (await decided(rita, exemption)).json()
    for client in (other, viewer):
        assert (await revoked(client, approved)).status_code == 403
    assert (await alice.get(f"{PATH}/{exemption['id']}")).json() == approved
    assert (await alice.delete(f"{REQUIREMENTS}/{requirement}", headers={"If-Match": '"1"'})).status_code == 204
    assert (await revoked(alice, approved)).status_code == 403
    assert (await revoked(rita, approved)).json()["status"] == "revoked"


async def test_a_decision_is_on_what_was_read(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, requirement: str
) -> None:
    exemption = await asked(alice, requirement)
    url = f"{PATH}/{exemption['id']}"
    assert (await rita.post(f"{url}/decision", json={"decision": "approve"})).status_code == 428
    stale = await decided(rita, exemption | {"revision": 2})
    assert (stale.status_code, stale.headers["etag"]) == (412, '"1"')
    ralf = caller("reviewer", subject="ralf")
    answers = await asyncio.gather(decided(rita, exemption), decided(ralf, exemption, "reject"))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert (await alice.post(f"{url}/revocation", json={"reason": "x"})).status_code == 428
    assert (await revoked(alice, exemption)).status_code == 412
    for unknown in (await decided(rita, {"id": uuid4(), "revision": 1}), await alice.get(f"{PATH}/{uuid4()}")):
        assert unknown.status_code == 404


async def test_exemptions_are_listed_by_requirement_and_state(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, requirement: str, app: Any
) -> None:
    other = str((await created(alice))["id"])
    made = {
        "requested": await asked(alice, requirement),
        "rejected": (await decided(rita, await asked(alice, requirement), "reject")).json(),
        "revoked": (await revoked(alice, (await decided(rita, await asked(alice, requirement))).json())).json(),
        "active": (await decided(rita, await asked(alice, requirement))).json(),
        "future": (await decided(rita, await asked(alice, requirement, starts_at=later(days=1)))).json(),
        "over": (await decided(rita, await asked(alice, requirement))).json(),
        "other": await asked(alice, other),
    }
    await ended(app, made["over"])

    async def listed(**parameters: Any) -> list[str]:
        page = (await alice.get(PATH, params=parameters)).json()
        names = {exemption["id"]: name for name, exemption in made.items()}
        assert page["total"] == len(page["items"])
        if parameters.get("status") not in (None, "active"):
            assert {item["status"] for item in page["items"]} == {parameters["status"]}
        return [names[item["id"]] for item in page["items"]]

    assert await listed() == list(made)[::-1]
    assert await listed(requirement_id=other) == ["other"]
    assert await listed(requirement_id=requirement, status="requested") == ["requested"]
    assert await listed(status="requested") == ["other", "requested"]
    assert await listed(status="approved") == ["future", "active"]
    assert await listed(status="active") == ["active"]
    assert await listed(status="expired") == ["over"]
    assert await listed(status="rejected") == ["rejected"]
    assert await listed(status="revoked") == ["revoked"]
    assert await listed(requirement_id=str(uuid4())) == []
    page = (await alice.get(PATH, params={"skip": 1, "limit": 2})).json()
    assert ([item["id"] for item in page["items"]], page["total"]) == ([made["over"]["id"], made["future"]["id"]], 7)
    for name, value in (("status", "purple"), ("requirement_id", "x")):
        refused = await alice.get(PATH, params={name: value})
        assert refused.json()["errors"][0]["parameter"] == name


async def test_the_same_key_does_a_thing_once(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, requirement: str, caller: Any
) -> None:
    async def twice(client: httpx.AsyncClient, url: str, content: dict[str, Any], etag: str) -> Any:
        headers = {"Idempotency-Key": str(uuid4()), "If-Match": etag}
        first = await client.post(url, json=content, headers=headers)
        again = await client.post(url, json=content, headers=headers)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert (again.headers["etag"], again.headers["idempotency-replayed"]) == (first.headers["etag"], "true")
        return first.json()

    exemption = await twice(alice, PATH, wanted(requirement), "*")
    url = f"{PATH}/{exemption['id']}"
    await twice(rita, f"{url}/decision", {"decision": "approve"}, '"1"')
    await twice(alice, f"{url}/revocation", {"reason": "x"}, '"2"')
    assert len(await audited(caller, exemption["id"])) == 3
    assert (await alice.get(PATH)).json()["total"] == 1


async def test_an_exemption_is_of_a_requirement_that_there_is(alice: httpx.AsyncClient) -> None:
    response = await alice.post(PATH, json=wanted(str(uuid4())))
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"expires_at": later(hours=-1)}, "/expires_at"),
        ({"starts_at": later(days=8)}, "/expires_at"),
        ({"starts_at": later(), "expires_at": later(days=366, seconds=1)}, "/expires_at"),
        ({"starts_at": later(days=-2), "expires_at": later(days=-1)}, "/expires_at"),
        ({"starts_at": "2026-11-01T12:00:00"}, "/starts_at"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "/starts_at"),
        ({"expires_at": None}, "/expires_at"),
        ({"reason": "  "}, "/reason"),
        ({"reason": "x" * 2001}, "/reason"),
        ({"reason": "a\x00"}, "/reason"),
        ({"requirement_id": "REQ-1"}, "/requirement_id"),
        ({"status": "approved"}, "/status"),
    ],
)
async def test_a_malformed_request_is_refused(
    alice: httpx.AsyncClient, requirement: str, members: dict[str, Any], pointer: str
) -> None:
    response = await alice.post(PATH, json=wanted(requirement, **members))
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["pointer"] == pointer
    assert (await alice.get(PATH)).json()["total"] == 0


@pytest.mark.parametrize(
    ("action", "content", "pointer"),
    [
        ("decision", {"decision": "maybe"}, "/decision"),
        ("decision", {}, "/decision"),
        ("decision", {"decision": "approve", "comment": "x" * 2001}, "/comment"),
        ("revocation", {"reason": ""}, "/reason"),
        ("revocation", {}, "/reason"),
    ],
)
async def test_a_malformed_decision_is_refused(
    rita: httpx.AsyncClient, action: str, content: dict[str, Any], pointer: str
) -> None:
    response = await rita.post(f"{PATH}/{uuid4()}/{action}", json=content, headers={"If-Match": '"1"'})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
