import asyncio
from typing import Any

import httpx
import pytest

from lifecycle import PATH, created, moved, patched


async def in_review(client: httpx.AsyncClient, **members: Any) -> str:
    id = str((await created(client, **members))["id"])
    assert (await moved(client, id, "in_review")).status_code == 200
    return id


async def said(client: httpx.AsyncClient, id: str, decision: str, revision: int = 2, **more: Any) -> httpx.Response:
    content = {"decision": decision, "revision": revision} | more
    return await client.post(f"{PATH}/{id}/reviews", json=content)


async def test_one_approval_approves_where_the_team_asks_for_no_more(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    id = await in_review(alice)
    result = (await said(rita, id, "approve", comment="measured twice")).json()
    assert (result["status"], result["approvals"], result["required_approvals"]) == ("approved", 1, 1)
    page = (await alice.get(f"{PATH}/{id}/reviews")).json()
    assert [(item["reviewer"], item["decision"], item["comment"]) for item in page["items"]] == [
        ("rita", "approve", "measured twice")
    ]


async def test_a_team_may_ask_for_several_approvals(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any
) -> None:
    admin = caller("admin", subject="root")
    written = await admin.put("/api/v1/policies/payments", json={"required_approvals": 2})
    assert (written.status_code, written.headers["etag"]) == (200, '"1"')
    assert (await alice.put("/api/v1/policies/payments", json={"required_approvals": 1})).status_code == 403
    assert (await admin.put("/api/v1/policies/payments", json={"required_approvals": 1})).status_code == 428
    id = await in_review(alice, owner_team="payments")
    early = await moved(rita, id, "approved")
    assert early.status_code == 409
    assert (early.json()["required"], early.json()["approved_by"]) == (2, [])
    first = (await said(rita, id, "approve")).json()
    assert (first["status"], first["approvals"]) == ("in_review", 1)
    assert (await said(rita, id, "approve")).status_code == 409
    second = (await said(caller("reviewer", subject="ralf"), id, "approve")).json()
    assert (second["status"], second["approvals"]) == ("approved", 2)
    policy = await admin.get("/api/v1/policies/payments")
    assert policy.json()["required_approvals"] == 2
    again = await admin.put(
        "/api/v1/policies/payments", json={"required_approvals": 1}, headers={"If-Match": policy.headers["etag"]}
    )
    assert again.json()["revision"] == 2


@pytest.mark.parametrize("left", ["viewer", "editor"])
async def test_a_reviewer_who_lost_the_role_meanwhile_decides_nothing(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any, left: str
) -> None:
    id = (await created(alice))["id"]
    assert (await moved(alice, id, "in_review", reviewers=["rita"])).status_code == 200
    before = (await rita.get(f"{PATH}/{id}")).content
    lost = caller(left, subject="rita", teams=())
    for refused in (
        await said(lost, id, "approve"),
        await said(lost, id, "reject"),
        await moved(lost, id, "approved"),
    ):
        assert refused.status_code == 403
        assert refused.json()["type"] == "urn:plumbline:problem:forbidden"
    assert (await rita.get(f"{PATH}/{id}")).content == before
    assert (await rita.get(f"{PATH}/{id}/reviews")).json()["total"] == 0
    assert (await said(rita, id, "approve")).json()["status"] == "approved"


async def test_a_request_for_changes_and_a_rejection_move_at_once(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    id = await in_review(alice)
    assert (await said(rita, id, "request_changes", comment="which window?")).json()["status"] == "draft"
    await moved(alice, id, "in_review")
    assert (await said(rita, id, "reject", revision=4)).json()["status"] == "rejected"
    assert (await patched(alice, id, title="Better")).json()["status"] == "draft"


async def test_approvals_are_of_one_revision(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    id = await in_review(alice)
    await patched(alice, id, title="Changed under review")
    refused = await said(rita, id, "approve")
    assert refused.status_code == 409
    assert refused.json()["revision"] == 3
    assert (await said(rita, id, "approve", revision=3)).json()["type"].endswith("not-in-review")


async def test_the_author_and_who_is_no_reviewer_decide_nothing(alice: httpx.AsyncClient, caller: Any) -> None:
    both = caller("editor", "reviewer", subject="bob")
    id = await in_review(both)
    assert (await said(both, id, "approve")).status_code == 409
    assert (await said(alice, id, "approve")).status_code == 403
    assert (await said(alice, id, "comment", comment="I only ask")).status_code == 201
    assert (await said(caller("viewer"), id, "comment")).status_code == 403


async def test_of_two_reviewers_at_once_each_counts_and_one_outcome_stands(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any
) -> None:
    ralf = caller("reviewer", subject="ralf")
    for _ in range(5):
        id = await in_review(alice)
        answers = await asyncio.gather(said(rita, id, "approve"), said(ralf, id, "reject"))
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        kept = (await alice.get(f"{PATH}/{id}/reviews")).json()
        status = (await alice.get(f"{PATH}/{id}")).json()["status"]
        assert [item["decision"] for item in kept["items"]] == ["approve" if status == "approved" else "reject"]


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"decision": "praise", "revision": 2}, "/decision"),
        ({"decision": "approve"}, "/revision"),
        ({"decision": "approve", "revision": 0}, "/revision"),
        ({"decision": "comment", "revision": 2, "comment": "x" * 2001}, "/comment"),
    ],
)
async def test_a_malformed_review_is_refused(rita: httpx.AsyncClient, content: dict[str, Any], pointer: str) -> None:
    response = await rita.post(f"{PATH}/0199a0b0-0000-7000-8000-000000000001/reviews", json=content)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
