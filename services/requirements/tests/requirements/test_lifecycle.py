"""What is in force while a change of it is drafted, and who may take it where."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from lifecycle import PATH, activated, created, moved, patched


async def test_an_edit_of_an_active_requirement_is_a_draft_beside_what_is_in_force(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, app: Any
) -> None:
    id = (await created(alice, owner_team="payments"))["id"]
    active = await activated(alice, rita, id)
    assert (active["status"], active["in_force"], active["revision"]) == ("active", 4, 4)
    draft = (await patched(alice, id, title="Checkout answers fast")).json()
    assert (draft["status"], draft["in_force"], draft["revision"]) == ("draft", 4, 5)
    again = await activated(alice, rita, id)
    assert (again["status"], again["in_force"], again["title"]) == ("active", 8, "Checkout answers fast")
    async with app.state.sessions() as session:
        told = await session.scalars(
            text("SELECT data::jsonb -> 'in_force' ->> 'title' FROM outbox WHERE key = :id ORDER BY seq"), {"id": id}
        )
        assert list(told) == [None] * 4 + ["Checkout answers"] * 4 + [None]


async def test_a_drafted_change_can_be_given_up(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    id = (await created(alice, labels={"a": "b"}))["id"]
    before = await activated(alice, rita, id)
    assert (await alice.post(f"{PATH}/{id}/discard", json={}, headers={"If-Match": '"4"'})).status_code == 409
    await patched(alice, id, title="Other", labels={"a": None})
    kept = (await alice.post(f"{PATH}/{id}/discard", json={}, headers={"If-Match": '"5"'})).json()
    assert (kept["title"], kept["labels"], kept["status"]) == (before["title"], {"a": "b"}, "active")
    assert (kept["revision"], kept["in_force"]) == (6, 6)


async def test_an_edit_withdraws_a_review(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    id = (await created(alice))["id"]
    asked = (await moved(alice, id, "in_review", reviewers=["rita", "ralf", "rita"])).json()
    assert asked["reviewers"] == ["ralf", "rita"]
    edited = (await patched(alice, id, title="Other")).json()
    assert (edited["status"], edited["reviewers"]) == ("draft", [])
    await moved(alice, id, "in_review")
    await moved(rita, id, "approved")
    assert (await patched(alice, id, title="Third")).json()["status"] == "draft"


async def test_nobody_who_wrote_of_it_approves_it(alice: httpx.AsyncClient, caller: Any) -> None:
    bob = caller("editor", "reviewer", subject="bob")
    carol = caller("editor", "reviewer", subject="carol")
    id = (await created(bob))["id"]
    await patched(carol, id, title="A comma, changed")
    await moved(alice, id, "in_review")
    for author in (bob, carol):
        refused = await moved(author, id, "approved")
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("own-revision")
    assert (await moved(caller("reviewer", subject="rita"), id, "approved")).status_code == 200


async def test_what_is_in_force_is_retired_and_not_deleted(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    id = (await created(alice))["id"]
    await activated(alice, rita, id)
    refused = await alice.delete(f"{PATH}/{id}", headers={"If-Match": '"4"'})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("in-force")
    assert (await moved(alice, id, "deprecated")).json()["in_force"] == 5
    assert (await patched(alice, id, title="Other")).status_code == 409
    retired = (await moved(alice, id, "retired", reason="the service is gone")).json()
    assert (retired["status"], retired["in_force"]) == ("retired", None)
    assert (await alice.delete(f"{PATH}/{id}", headers={"If-Match": '"6"'})).status_code == 204


@pytest.mark.parametrize("to", ["approved", "active", "rejected", "draft", "retired"])
async def test_an_illegal_transition_names_the_legal_ones(alice: httpx.AsyncClient, to: str) -> None:
    id = (await created(alice))["id"]
    refused = await moved(alice, id, to)
    assert refused.status_code == 409
    assert refused.json()["legal"] == ["in_review"]
    assert (await alice.get(f"{PATH}/{id}")).json()["revision"] == 1


async def test_only_editors_of_the_team_move_what_is_not_in_review(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, caller: Any
) -> None:
    id = (await created(alice, owner_team="payments"))["id"]
    stranger = caller("editor", subject="sam", teams=("search",))
    assert (await moved(rita, id, "in_review")).status_code == 403
    assert (await moved(stranger, id, "in_review")).status_code == 403
    assert (await moved(alice, id, "in_review")).status_code == 200
    assert (await moved(stranger, id, "draft")).status_code == 403
    assert (await moved(rita, id, "draft")).status_code == 200


async def test_the_same_key_answers_the_same_and_creates_once(alice: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once-1"}
    first = await alice.post(PATH, json={"title": "Once"}, headers=headers)
    second = await alice.post(PATH, json={"title": "Once"}, headers=headers)
    assert second.status_code == first.status_code == 201
    assert second.content == first.content
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["location"] == first.headers["location"]
    assert (await alice.get(PATH)).json()["total"] == 1
    other = await alice.post(PATH, json={"title": "Twice"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["type"].endswith("idempotency-key-reused")


async def test_a_key_of_a_request_that_failed_is_free(alice: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "again-1"}
    assert (await alice.post(PATH, json={"title": "x", "status": "active"}, headers=headers)).status_code == 409
    assert (await alice.post(PATH, json={"title": "x"}, headers=headers)).status_code == 201
