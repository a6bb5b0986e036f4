import asyncio
import itertools
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from lifecycle import PATH as REQUIREMENTS
from lifecycle import created, patched

PATH = "/api/v1/links"
EVIDENCE = {"url": "https://ci.example/runs/7", "run": "7", "result": "passed", "at": "2026-05-01T10:00:00Z"}


async def linked(client: httpx.AsyncClient, source: Any, target: Any, type: str = "refines", **more: Any) -> Any:
    content = {"source_id": source["id"], "target_id": target["id"], "type": type} | more
    response = await client.post(PATH, json=content)
    assert response.status_code == 201, response.text
    return response.json()


async def read(client: httpx.AsyncClient, link: Any) -> Any:
    return (await client.get(f"{PATH}/{link['id']}")).json()


async def cleared(client: httpx.AsyncClient, link: Any, revision: int, reason: str = "Still so.") -> httpx.Response:
    headers = {"If-Match": f'"{revision}"'}
    return await client.post(f"{PATH}/{link['id']}/clearance", json={"reason": reason}, headers=headers)


async def staged(app: Any, subject: str) -> list[dict[str, Any]]:
    async with app.state.sessions() as session:
        rows = await session.execute(
            text("SELECT data FROM outbox WHERE subject = :subject ORDER BY seq"), {"subject": subject}
        )
        return [json.loads(row.data) for row in rows]


async def test_a_link_shows_both_ends(alice: httpx.AsyncClient) -> None:
    source = await created(alice, title="Checkout answers", owner_team="payments")
    target = await created(alice, title="The shop answers", service="shop")
    response = await alice.post(
        PATH, json={"source_id": source["id"], "target_id": target["id"], "type": "derives", "note": "by law"}
    )
    assert response.status_code == 201
    link = response.json()
    assert response.headers["location"] == f"{PATH}/{link['id']}"
    assert response.headers["etag"] == '"1"'
    assert (link["source"]["key"], link["target"]["title"], link["note"]) == (
        source["key"],
        "The shop answers",
        "by law",
    )
    assert (link["suspect"], link["reviewed_fingerprint"]) == (False, target["fingerprint"])
    assert await read(alice, link) == link


async def test_a_change_of_the_target_makes_the_link_suspect_and_its_reversal_does_not(
    alice: httpx.AsyncClient, app: Any
) -> None:
    source, target = await created(alice, service="shop"), await created(alice)
    link = await linked(alice, source, target)
    before = len(await staged(app, "requirements.link.suspected.v1"))
    await patched(alice, target["id"], rationale="No demand.")
    assert not (await read(alice, link))["suspect"]
    await patched(alice, target["id"], statement="The shop shall answer within 1 s.")
    suspect = await read(alice, link)
    assert suspect["suspect"]
    assert suspect["suspect_since"] is not None
    await patched(alice, target["id"], statement="The shop shall answer within 2 s.")
    assert (await read(alice, link))["suspect_since"] == suspect["suspect_since"]
    (event,) = (await staged(app, "requirements.link.suspected.v1"))[before:]
    assert (event["link_id"], event["requirement_id"], event["service"]) == (link["id"], source["id"], "shop")
    assert (event["target_key"], event["target_revision"]) == (target["key"], 3)
    await patched(alice, target["id"], statement="")
    assert not (await read(alice, link))["suspect"]


async def test_suspect_links_are_told_of_in_lists_and_found(alice: httpx.AsyncClient) -> None:
    source, target, other = await created(alice), await created(alice), await created(alice)
    link = await linked(alice, source, target)
    await linked(alice, source, other)
    one = f"{REQUIREMENTS}/{source['id']}"
    assert (await alice.get(one)).json()["suspect_links"] == 0
    await patched(alice, target["id"], statement="It shall be another.")
    assert (await alice.get(one)).json()["suspect_links"] == 1
    found = (await alice.get(REQUIREMENTS, params={"suspect": "true"})).json()
    assert [(item["id"], item["suspect_links"]) for item in found["items"]] == [(source["id"], 1)]
    assert found["total"] == 1
    assert (await alice.get(REQUIREMENTS, params={"suspect": "false"})).json()["total"] == 2
    (listed,) = (await alice.get(REQUIREMENTS, params={"suspect": "true", "fields": "suspect_links"})).json()["items"]
    assert listed == {"suspect_links": 1}
    assert (await patched(alice, source["id"], rationale="x")).json()["suspect_links"] == 1
    links = (await alice.get(PATH, params={"suspect": "true"})).json()
    assert [each["id"] for each in links["items"]] == [link["id"]]


async def test_clearing_is_audited_with_its_reason(alice: httpx.AsyncClient, caller: Any) -> None:
    source, target = await created(alice), await created(alice)
    link = await linked(alice, source, target)
    changed = (await patched(alice, target["id"], statement="It shall be another.")).json()
    assert (await cleared(alice, link, 7)).status_code == 412
    response = await cleared(alice, link, 1, "The shop still derives from it.")
    assert response.status_code == 200
    body = response.json()
    assert (body["suspect"], body["revision"], body["reviewed_fingerprint"]) == (False, 2, changed["fingerprint"])
    assert (await alice.get(f"{REQUIREMENTS}/{source['id']}")).json()["suspect_links"] == 0
    audit = (await caller("admin", subject="root").get("/api/v1/audit", params={"entity_id": link["id"]})).json()
    told = [(each["entry"]["action"], each["entry"]["reason"]) for each in audit["items"]]
    assert ("cleared", "The shop still derives from it.") in told
    assert (await cleared(alice, link, 2, " ")).status_code == 422


async def test_a_target_that_is_deleted_breaks_nothing(alice: httpx.AsyncClient) -> None:
    source, target = await created(alice), await created(alice)
    link = await linked(alice, source, target)
    headers = {"If-Match": '"1"'}
    assert (await alice.delete(f"{REQUIREMENTS}/{target['id']}", headers=headers)).status_code == 204
    left = await read(alice, link)
    assert (left["target"], left["suspect"], left["target_id"]) == (None, True, target["id"])
    assert (await alice.get(f"{REQUIREMENTS}/{target['id']}/impact")).json()["items"][0]["id"] == source["id"]
    (row,) = (await alice.get(f"{PATH}/matrix")).json()["items"]
    assert [(cell["other_id"], cell["other_key"]) for cell in row["links"]] == [(target["id"], None)]
    assert (await cleared(alice, link, 1)).status_code == 404
    assert (await alice.delete(f"{PATH}/{link['id']}", headers=headers)).status_code == 204
    assert (await alice.get(f"{PATH}/{link['id']}")).status_code == 404


async def test_a_source_that_is_deleted_leaves_its_links_to_an_admin(alice: httpx.AsyncClient, caller: Any) -> None:
    source, target = await created(alice), await created(alice)
    link = await linked(alice, source, target)
    headers = {"If-Match": '"1"'}
    await alice.delete(f"{REQUIREMENTS}/{source['id']}", headers=headers)
    assert (await read(alice, link))["source"] is None
    await patched(alice, target["id"], statement="It shall be another.")
    (item,) = (await alice.get(f"{REQUIREMENTS}/{target['id']}/impact")).json()["items"]
    assert (item["id"], item["key"]) == (source["id"], None)
    assert (await alice.delete(f"{PATH}/{link['id']}", headers=headers)).status_code == 403
    assert (await caller("admin").delete(f"{PATH}/{link['id']}", headers=headers)).status_code == 204


async def test_evidence_belongs_to_what_verifies(alice: httpx.AsyncClient) -> None:
    source, target = await created(alice), await created(alice)
    link = await linked(alice, source, target, "verifies", evidence=EVIDENCE)
    assert link["evidence"] == EVIDENCE
    failed = EVIDENCE | {"result": "failed", "run": "8"}
    changed = await alice.patch(f"{PATH}/{link['id']}", json={"evidence": failed}, headers={"If-Match": '"1"'})
    assert (changed.json()["evidence"], changed.headers["etag"]) == (failed, '"2"')
    gone = await alice.patch(f"{PATH}/{link['id']}", json={"evidence": None}, headers={"If-Match": '"2"'})
    assert gone.json()["evidence"] is None
    other = await linked(alice, source, target, "refines")
    refused = await alice.patch(f"{PATH}/{other['id']}", json={"evidence": failed}, headers={"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/evidence")


async def test_a_link_is_there_once(alice: httpx.AsyncClient) -> None:
    source, target = await created(alice), await created(alice)
    await linked(alice, source, target)
    content = {"source_id": source["id"], "target_id": target["id"], "type": "refines"}
    again = await alice.post(PATH, json=content)
    assert (again.status_code, again.json()["type"]) == (409, "urn:plumbline:problem:link-exists")
    first = await alice.post(PATH, json=content | {"type": "conflicts"}, headers={"Idempotency-Key": "k"})
    assert (
        await alice.post(PATH, json=content | {"type": "conflicts"}, headers={"Idempotency-Key": "k"})
    ).json() == first.json()


async def test_no_requirement_derives_from_itself(alice: httpx.AsyncClient) -> None:
    a, b, c = [await created(alice) for _ in range(3)]
    await linked(alice, a, b, "derives")
    await linked(alice, b, c, "refines")
    content = {"source_id": c["id"], "target_id": a["id"], "type": "derives"}
    refused = await alice.post(PATH, json=content)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:plumbline:problem:link-cycle")
    await linked(alice, c, a, "conflicts")
    assert (await alice.get(f"{REQUIREMENTS}/{c['id']}/impact")).json()["total"] == 2


async def test_two_halves_of_a_cycle_at_once_do_not_make_one(alice: httpx.AsyncClient) -> None:
    for _ in range(5):
        a, b = [await created(alice) for _ in range(2)]
        halves = [{"source_id": x["id"], "target_id": y["id"], "type": "derives"} for x, y in ((a, b), (b, a))]
        answers = await asyncio.gather(*(alice.post(PATH, json=half) for half in halves))
        assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_a_link_made_while_its_target_changes_is_fresh_or_suspect_but_never_wrong(
    alice: httpx.AsyncClient,
) -> None:
    for number in range(10):
        source, target = await created(alice), await created(alice)
        content = {"source_id": source["id"], "target_id": target["id"], "type": "refines"}
        made, _ = await asyncio.gather(
            alice.post(PATH, json=content), patched(alice, target["id"], statement=f"It shall be {number}.")
        )
        link = await read(alice, made.json())
        now = (await alice.get(f"{REQUIREMENTS}/{target['id']}")).json()["fingerprint"]
        assert link["suspect"] == (link["reviewed_fingerprint"] != now)


async def test_clearing_and_changing_at_once_end(alice: httpx.AsyncClient) -> None:
    source, target = await created(alice), await created(alice)
    link = await linked(alice, source, target)

    async def clear() -> int:
        etag = (await alice.get(f"{PATH}/{link['id']}")).headers["etag"]
        return (
            await alice.post(f"{PATH}/{link['id']}/clearance", json={"reason": "x"}, headers={"If-Match": etag})
        ).status_code

    async def change(number: int) -> int:
        return (await patched(alice, target["id"], statement=f"It shall be {number}.")).status_code

    answers = await asyncio.gather(*(clear() for _ in range(20)), *(change(number) for number in range(20)))
    assert set(answers) <= {200, 412}
    now = (await alice.get(f"{REQUIREMENTS}/{target['id']}")).json()["fingerprint"]
    last = await read(alice, link)
    assert last["suspect"] == (last["reviewed_fingerprint"] != now)


async def test_impact_goes_over_any_number_of_steps_and_ends_at_cycles(alice: httpx.AsyncClient) -> None:
    chain = [await created(alice, title=f"number {number}") for number in range(6)]
    for lower, upper in itertools.pairwise(chain):
        await linked(alice, upper, lower, "mitigates")
    await linked(alice, chain[0], chain[5], "mitigates")
    await linked(alice, chain[3], chain[1], "duplicates")
    url = f"{REQUIREMENTS}/{chain[0]['id']}/impact"
    whole = (await alice.get(url)).json()
    assert {item["title"] for item in whole["items"]} == {f"number {number}" for number in range(1, 6)}
    page = (await alice.get(url, params={"skip": 3, "limit": 1})).json()
    assert (page["total"], len(page["items"])) == (5, 1)
    assert page["items"][0] == whole["items"][3]
    assert (await alice.get(url, params={"skip": 9})).json() == {"items": [], "total": 5}
    assert (await alice.get(url, params={"type": "duplicates"})).json() == {"items": [], "total": 0}
    assert (await alice.get(f"{REQUIREMENTS}/{uuid4()}/impact")).status_code == 404


async def test_the_matrix_has_each_requirement_with_its_links(alice: httpx.AsyncClient) -> None:
    source = await created(alice, service="shop", owner_team="payments")
    target = await created(alice, service="bank")
    await linked(alice, source, target, "verifies", evidence=EVIDENCE)
    whole = (await alice.get(f"{PATH}/matrix")).json()
    assert [row["requirement"]["key"] for row in whole["items"]] == [source["key"], target["key"]]
    (cell,), (back,) = (row["links"] for row in whole["items"])
    assert (cell["type"], cell["direction"], cell["other_key"], cell["result"]) == (
        "verifies", "to", target["key"], "passed"
    )  # fmt: skip
    assert (back["direction"], back["other_key"]) == ("from", source["key"])
    of_shop = (await alice.get(f"{PATH}/matrix", params={"service": "shop", "owner_team": "payments"})).json()
    assert (of_shop["total"], of_shop["items"][0]["requirement"]["id"]) == (1, source["id"])


async def test_filters_of_the_list(alice: httpx.AsyncClient) -> None:
    a, b, c = [await created(alice) for _ in range(3)]
    one, two = await linked(alice, a, b), await linked(alice, b, c, "conflicts")

    async def ids(**query: Any) -> list[str]:
        return [each["id"] for each in (await alice.get(PATH, params=query)).json()["items"]]

    assert await ids() == [two["id"], one["id"]]
    assert await ids(source_id=a["id"]) == [one["id"]]
    assert await ids(target_id=c["id"]) == [two["id"]]
    assert await ids(requirement_id=b["id"]) == [two["id"], one["id"]]
    assert await ids(type="conflicts") == [two["id"]]
    assert await ids(limit=1, skip=1) == [one["id"]]


async def test_only_the_team_of_the_source_changes_a_link(alice: httpx.AsyncClient, caller: Any) -> None:
    ours, theirs = await created(alice, owner_team="payments"), await created(alice)
    link = await linked(alice, ours, theirs)
    bob = caller("editor", subject="bob", teams=("search",))
    content = {"source_id": ours["id"], "target_id": theirs["id"], "type": "conflicts"}
    headers = {"If-Match": '"1"'}
    assert (await bob.post(PATH, json=content)).status_code == 403
    assert (await bob.patch(f"{PATH}/{link['id']}", json={"note": "x"}, headers=headers)).status_code == 403
    assert (await cleared(bob, link, 1)).status_code == 403
    assert (await bob.delete(f"{PATH}/{link['id']}", headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"target_id": "same"}, "/target_id"),
        ({"target_id": str(uuid4())}, "/target_id"),
        ({"source_id": str(uuid4())}, "/source_id"),
        ({"type": "knows"}, "/type"),
        ({"evidence": EVIDENCE}, "/evidence"),
        ({"type": "verifies", "evidence": EVIDENCE | {"result": "maybe"}}, "/evidence/result"),
        ({"type": "verifies", "evidence": EVIDENCE | {"url": "javascript:alert(1)"}}, "/evidence/url"),
        ({"type": "verifies", "evidence": EVIDENCE | {"at": "2026-02-30T00:00:00Z"}}, "/evidence/at"),
        ({"note": "x" * 2001}, "/note"),
    ],
)
async def test_a_malformed_link_is_refused(alice: httpx.AsyncClient, members: Any, pointer: str) -> None:
    source, target = await created(alice), await created(alice)
    content = {"source_id": source["id"], "target_id": target["id"], "type": "refines"} | members
    if content["target_id"] == "same":
        content["target_id"] = content["source_id"]
    response = await alice.post(PATH, json=content)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == pointer
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_a_change_needs_the_revision_that_was_read(alice: httpx.AsyncClient) -> None:
    link = await linked(alice, await created(alice), await created(alice))
    url = f"{PATH}/{link['id']}"
    assert (await alice.patch(url, json={"note": "x"})).status_code == 428
    assert (await alice.delete(url)).status_code == 428
    assert (await alice.patch(url, json={"note": "x"}, headers={"If-Match": '"2"'})).status_code == 412
    assert (await alice.patch(f"{PATH}/{uuid4()}", json={}, headers={"If-Match": "*"})).status_code == 404


async def test_hundreds_of_links_turn_suspect_with_one_change(alice: httpx.AsyncClient, app: Any) -> None:
    target = await created(alice)
    for _ in range(80):
        await created(alice)
    async with app.state.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO links SELECT gen_random_uuid(), kind, id, CAST(:target AS uuid), '', NULL, :fingerprint,"
                " 1, NULL, 1, now(), 'alice', now(), 'alice' FROM requirements,"
                " unnest(ARRAY['derives', 'refines', 'verifies', 'conflicts', 'mitigates', 'duplicates']) AS kind"
                " WHERE id <> CAST(:target AS uuid)"
            ),
            {"target": target["id"], "fingerprint": target["fingerprint"]},
        )
    before = len(await staged(app, "requirements.link.suspected.v1"))
    await patched(alice, target["id"], statement="It shall be another.")
    assert (await alice.get(PATH, params={"suspect": "true", "limit": 1})).json()["total"] == 480
    assert len(await staged(app, "requirements.link.suspected.v1")) - before == 480
