import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, text

from lifecycle import activated, patched
from plumbline_requirements.models import Requirement
from plumbline_requirements.requirements.schemas import RequirementResponse

PATH = "/api/v1/requirements"
LATENCY = {
    "name": "checkout-latency",
    "indicator": {
        "ratioMetric": {
            "good": {"metricSource": {"spec": {"metric": "http.server.request.duration", "le": 0.3}}},
            "total": {"metricSource": {"spec": {"metric": "http.server.request.duration"}}},
        }
    },
    "timeWindow": [{"duration": "30d"}],
    "objectives": [{"target": 0.999}],
}


async def created(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"title": "Checkout answers"} | members)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def moved(client: httpx.AsyncClient, requirement: dict[str, Any], to: str) -> httpx.Response:
    now = await client.get(f"{PATH}/{requirement['id']}")
    return await client.patch(
        f"{PATH}/{requirement['id']}", json={"status": to}, headers={"If-Match": now.headers["etag"]}
    )


async def test_a_created_requirement_is_read_back_as_it_was_answered(alice: httpx.AsyncClient) -> None:
    response = await alice.post(
        PATH, json={"title": "  Checkout answers ", "owner_team": "payments", "slos": [LATENCY], "labels": {"a": "b"}}
    )
    body = response.json()
    assert response.status_code == 201
    assert body["title"] == "Checkout answers"
    assert body["status"] == "draft"
    assert body["revision"] == 1
    assert body["key"].startswith("REQ-")
    assert body["created_by"] == "alice"
    assert body["verdict"] is None
    read = await alice.get(response.headers["location"])
    assert read.json() == body
    assert read.headers["etag"] == response.headers["etag"] == '"1"'


async def test_lists_answer_a_page_and_the_total_newest_first(alice: httpx.AsyncClient) -> None:
    for number in range(5):
        await created(alice, title=f"number {number}", service="a" if number % 2 else "b")
    page = (await alice.get(PATH, params={"skip": 1, "limit": 2})).json()
    assert [item["title"] for item in page["items"]] == ["number 3", "number 2"]
    assert page["total"] == 5
    page = (await alice.get(PATH, params={"service": "a"})).json()
    assert (len(page["items"]), page["total"]) == (2, 2)
    assert (await alice.get(PATH, params={"skip": 100})).json() == {"items": [], "total": 5}


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"skip": -1}, {"skip": 10**30}, {"status": "none"}, {"service": "\0"}]
)
async def test_a_bad_query_names_the_parameter(alice: httpx.AsyncClient, query: dict[str, Any]) -> None:
    response = await alice.get(PATH, params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == next(iter(query))


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": " " * 10}, "/title"),
        ({"title": "x" * 501}, "/title"),
        ({"title": None}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"colour": "red"}, "/colour"),
        ({"slos": [LATENCY | {"objectives": [{"target": 1.5}]}]}, "/slos/0/objectives/0/target"),
        ({"slos": [LATENCY | {"timeWindow": []}]}, "/slos/0/timeWindow"),
        ({"labels": {"a": 1}}, "/labels/a"),
    ],
)
async def test_a_bad_member_is_named_and_nothing_is_written(
    alice: httpx.AsyncClient, members: dict[str, Any], pointer: str
) -> None:
    response = await alice.post(PATH, json={"title": "fine"} | members)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_a_title_of_ten_megabytes_is_too_large(alice: httpx.AsyncClient) -> None:
    response = await alice.post(PATH, json={"title": "x" * 10_000_000})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_patch_changes_only_what_it_names(alice: httpx.AsyncClient) -> None:
    before = await created(alice, description="old", labels={"a": "1", "b": "2"})
    response = await alice.patch(
        f"{PATH}/{before['id']}",
        json={"description": "new", "labels": {"a": None, "c": "3"}, "service": None},
        headers={"If-Match": '"1"', "Content-Type": "application/merge-patch+json"},
    )
    after = response.json()
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    assert after["labels"] == {"b": "2", "c": "3"}
    assert after["title"] == before["title"]
    assert after["description"] == "new"
    assert after["revision"] == 2
    assert after["fingerprint"] == before["fingerprint"]
    assert (await alice.get(f"{PATH}/{before['id']}")).json() == after


async def test_a_patch_that_changes_nothing_makes_no_revision(alice: httpx.AsyncClient) -> None:
    before = await created(alice)
    response = await alice.patch(
        f"{PATH}/{before['id']}", json={"title": before["title"]}, headers={"If-Match": '"1"'}
    )
    assert response.json() == before


async def test_the_title_cannot_be_taken_away(alice: httpx.AsyncClient) -> None:
    before = await created(alice)
    response = await alice.patch(f"{PATH}/{before['id']}", json={"title": None}, headers={"If-Match": '"1"'})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/title"


async def test_changes_need_the_present_etag(alice: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await created(alice))['id']}"
    for method in ("PATCH", "DELETE"):
        body = {"json": {"title": "other"}} if method == "PATCH" else {}
        assert (await alice.request(method, path, **body)).status_code == 428  # type: ignore[arg-type]
        stale = await alice.request(method, path, headers={"If-Match": '"7"'}, **body)  # type: ignore[arg-type]
        assert stale.status_code == 412
        assert stale.headers["etag"] == '"1"'


async def test_of_many_writers_with_one_etag_one_wins(alice: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await created(alice))['id']}"
    answers = await asyncio.gather(
        *(alice.patch(path, json={"title": f"by {n}"}, headers={"If-Match": '"1"'}) for n in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    assert (await alice.get(path)).json()["revision"] == 2


async def test_a_deleted_requirement_is_gone(alice: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await created(alice))['id']}"
    assert (await alice.delete(path, headers={"If-Match": '"1"'})).status_code == 204
    assert (await alice.get(path)).status_code == 404
    assert (await alice.delete(path, headers={"If-Match": '"1"'})).status_code == 404


async def test_the_lifecycle_needs_another_pair_of_eyes(alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> None:
    requirement = await created(alice, owner_team="payments")
    refused = await moved(alice, requirement, "active")
    assert refused.status_code == 409
    assert refused.json()["legal"] == ["in_review"]
    assert (await moved(alice, requirement, "in_review")).status_code == 200
    assert (await moved(alice, requirement, "approved")).status_code == 403
    assert (await moved(rita, requirement, "approved")).status_code == 200
    assert (await moved(alice, requirement, "active")).json()["status"] == "active"


async def test_a_requirement_begins_as_draft(alice: httpx.AsyncClient) -> None:
    response = await alice.post(PATH, json={"title": "x", "status": "active"})
    assert response.status_code == 409
    assert response.json()["legal"] == ["draft"]


async def test_only_the_team_or_an_admin_changes_a_teams_requirement(alice: httpx.AsyncClient, caller: Any) -> None:
    requirement = await created(alice, owner_team="payments")
    path, match = f"{PATH}/{requirement['id']}", {"If-Match": '"1"'}
    stranger = caller("editor", subject="sam", teams=("search",))
    assert (await stranger.patch(path, json={"title": "mine"}, headers=match)).status_code == 403
    assert (await stranger.delete(path, headers=match)).status_code == 403
    assert (await stranger.post(PATH, json={"title": "x", "owner_team": "payments"})).status_code == 403
    admin = caller("admin", subject="root", teams=())
    assert (await admin.patch(path, json={"title": "ours"}, headers=match)).status_code == 200


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("viewer", 200, 403), ("ingest", 403, 403), ("operator", 200, 403)]
)
async def test_who_may_only_read_cannot_write(caller: Any, role: str, reads: int, writes: int) -> None:
    client = caller(role)
    assert (await client.get(PATH)).status_code == reads
    assert (await client.post(PATH, json={"title": "x"})).status_code == writes
    assert (await client.patch(f"{PATH}/{uuid4()}", json={})).status_code == writes
    assert (await client.delete(f"{PATH}/{uuid4()}")).status_code == writes


async def test_every_change_is_staged_with_it(alice: httpx.AsyncClient, app: Any) -> None:
    requirement = await created(alice)
    path = f"{PATH}/{requirement['id']}"
    await alice.patch(path, json={"title": "other"}, headers={"If-Match": '"1"'})
    await alice.patch(path, json={"status": "in_review"}, headers={"If-Match": '"2"'})
    await alice.delete(path, headers={"If-Match": '"3"'})
    async with app.state.sessions() as session:
        subjects = await session.scalars(
            text("SELECT subject FROM outbox WHERE key = :key ORDER BY seq"), {"key": requirement["id"]}
        )
        assert [subject.split(".")[2] for subject in subjects] == ["created", "updated", "transitioned", "deleted"]


async def test_the_rendered_document_is_what_the_columns_say(alice: httpx.AsyncClient, app: Any) -> None:
    requirement = await created(alice, slos=[LATENCY], labels={"a": "b"})
    await alice.patch(f"{PATH}/{requirement['id']}", json={"priority": "must"}, headers={"If-Match": '"1"'})
    async with app.state.sessions() as session:
        row = (await session.scalars(select(Requirement))).one()
        document = RequirementResponse.model_validate_json(row.document)
        for name in RequirementResponse.model_fields.keys() - {"warnings", "suspect_links"}:
            value = getattr(row, name)
            shown = document.model_dump(mode="json")[name]
            assert shown == (str(value) if name == "id" else shown if name.endswith("_at") else value), name


async def test_a_budget_policy_is_kept_by_what_is_spent_and_drafted_like_all_else(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    policy = [{"spent": 1.0, "action": " Nothing is deployed. "}, {"spent": 0.5, "action": "Only fixes."}]
    made = await created(alice, budget_policy=policy)
    kept = [{"spent": 0.5, "action": "Only fixes."}, {"spent": 1.0, "action": "Nothing is deployed."}]
    assert made["budget_policy"] == kept
    active = await activated(alice, rita, made["id"])
    changed = await patched(alice, made["id"], budget_policy=kept[:1])
    assert (changed.json()["status"], changed.json()["in_force"]) == ("draft", active["revision"])
    assert changed.json()["fingerprint"] == made["fingerprint"], "what is demanded is the same"
    difference = await alice.get(f"{PATH}/{made['id']}/diff", params={"from": 1, "to": changed.json()["revision"]})
    assert "/budget_policy/1" in {each["pointer"] for each in difference.json()["changes"]}
    assert (await patched(alice, made["id"], budget_policy=None)).json()["budget_policy"] == []


@pytest.mark.parametrize(
    ("policy", "pointer"),
    [
        ([{"spent": 0, "action": "x"}], "/budget_policy/0/spent"),
        ([{"spent": 11, "action": "x"}], "/budget_policy/0/spent"),
        ([{"spent": 0.5, "action": " "}], "/budget_policy/0/action"),
        ([{"spent": 0.5}], "/budget_policy/0/action"),
        ([{"spent": 0.5, "action": "x"}] * 2, "/budget_policy"),
        ([{"spent": each / 10, "action": "x"} for each in range(1, 12)], "/budget_policy"),
    ],
)
async def test_a_budget_policy_that_says_nothing_is_refused(
    alice: httpx.AsyncClient, policy: list[Any], pointer: str
) -> None:
    answer = await alice.post(PATH, json={"title": "x", "budget_policy": policy})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
