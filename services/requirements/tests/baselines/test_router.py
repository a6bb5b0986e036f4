import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from lifecycle import PATH as REQUIREMENTS
from lifecycle import activated, created, moved, patched
from plumbline_requirements.baselines.rules import LARGEST

PATH = "/api/v1/baselines"


async def set_down(client: httpx.AsyncClient, name: str, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"name": name} | members)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def held(client: httpx.AsyncClient, baseline: dict[str, Any], **page: int) -> list[tuple[str, int]]:
    items = (await client.get(f"{PATH}/{baseline['id']}/items", params=page)).json()["items"]
    return [(item["requirement_id"], item["revision"]) for item in items]


def pinned(*items: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"requirement_id": id, "revision": revision} for id, revision in items]


async def audited(caller: Any, id: str) -> list[tuple[str, str]]:
    client = caller("admin", subject="root")
    items = (await client.get("/api/v1/audit", params={"entity_id": id})).json()["items"]
    return [(item["entry"]["action"], item["entry"]["reason"]) for item in items]


@pytest.fixture
async def admin(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("admin", subject="root", teams=())
    return client


async def test_a_baseline_keeps_the_revisions_that_it_names(alice: httpx.AsyncClient, caller: Any) -> None:
    one, two = [await created(alice, title=title) for title in ("One", "Two")]
    await patched(alice, one["id"], title="One, changed")
    response = await alice.post(
        PATH,
        json={
            "name": "Release 1",
            "description": "what we sold",
            "team": "payments",
            "items": pinned((one["id"], 1), (two["id"], 1)),
        },
    )
    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert (body["name"], body["size"], body["team"], body["created_by"]) == ("Release 1", 2, "payments", "alice")
    found = await caller("viewer").get(response.headers["location"])
    assert (found.json(), found.headers["etag"]) == (body, '"1"')
    items = (await alice.get(f"{PATH}/{body['id']}/items")).json()
    assert items == {
        "items": [
            {"requirement_id": two["id"], "key": two["key"], "revision": 1, "title": "Two", "status": "draft"},
            {"requirement_id": one["id"], "key": one["key"], "revision": 1, "title": "One", "status": "draft"},
        ],
        "total": 2,
    }
    assert await held(alice, body, skip=1, limit=1) == [(one["id"], 1)]
    assert await audited(caller, body["id"]) == [("created", "")]


async def test_a_selection_takes_what_is_in_force_else_the_head(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    draft = await created(alice, title="Draft", service="shop", labels={"tier": "1"})
    live = await created(alice, title="Live", service="shop", owner_team="payments")
    await activated(alice, rita, live["id"])
    await patched(alice, live["id"], title="Live, being changed")
    await created(alice, title="Elsewhere", service="depot", labels={"tier": "2"})

    async def selected(name: str, **select: str) -> list[tuple[str, int]]:
        return await held(alice, await set_down(alice, name, select=select))

    assert await selected("a", service="shop") == [(live["id"], 4), (draft["id"], 1)]
    assert await selected("b", status="active") == [(live["id"], 4)]
    assert await selected("c", service="shop", status="draft") == [(draft["id"], 1)]
    assert await selected("d", owner_team="payments") == [(live["id"], 4)]
    assert await selected("e", label="tier=1") == [(draft["id"], 1)]
    assert len(await selected("f", label="tier")) == 2
    assert len(await selected("g")) == 3
    await moved(alice, draft["id"], "in_review")
    assert await selected("h", status="in_review", service="shop") == [(draft["id"], 2)]


async def test_a_selection_of_nothing_makes_no_baseline(alice: httpx.AsyncClient) -> None:
    response = await alice.post(PATH, json={"name": "a", "select": {"service": "none"}})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/select"
    assert (await alice.get(PATH)).json() == {"items": [], "total": 0}


async def test_a_revision_that_there_is_not_is_pointed_to_and_nothing_is_written(
    alice: httpx.AsyncClient, caller: Any
) -> None:
    one, gone = await created(alice), await created(alice)
    assert (await alice.delete(f"{REQUIREMENTS}/{gone['id']}", headers={"If-Match": '"1"'})).status_code == 204
    unknown = str(uuid4())
    wanted = pinned((one["id"], 1), (one["id"].replace("0", "1"), 1), (gone["id"], 2), (unknown, 1))
    response = await alice.post(PATH, json={"name": "a", "items": wanted})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/items/1", "/items/2", "/items/3"]
    assert (await alice.get(PATH)).json()["total"] == 0
    kept = await set_down(alice, "a", items=pinned((one["id"], 1), (gone["id"], 1)))
    assert kept["size"] == 2


async def test_names_are_taken_once(alice: httpx.AsyncClient) -> None:
    items = pinned(((await created(alice))["id"], 1))
    answers = await asyncio.gather(*(alice.post(PATH, json={"name": "a", "items": items}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    refused = await alice.post(PATH, json={"name": " a ", "select": {}})
    assert refused.json()["type"].endswith(":baseline-exists")
    assert refused.json()["errors"][0]["pointer"] == "/name"
    page = (await alice.get(PATH)).json()
    assert (len(page["items"]), page["total"]) == (1, 1)


async def test_baselines_are_listed_newest_first(alice: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    items = pinned(((await created(alice))["id"], 1))
    first, second = [await set_down(alice, name, items=items, team="payments") for name in "ab"]
    third = await set_down(admin, "c", items=items, team="search")
    page = (await alice.get(PATH)).json()
    assert (page["items"], page["total"]) == ([third, second, first], 3)
    page = (await alice.get(PATH, params={"team": "payments", "skip": 1, "limit": 1})).json()
    assert (page["items"], page["total"]) == ([first], 2)


async def test_two_baselines_are_compared_member_by_member(
    alice: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    same, left, changed, joined = [await created(alice, title=title) for title in ("S", "L", "C", "J")]
    await patched(alice, changed["id"], title="C2", labels={"a/b": "1"})
    first = await set_down(alice, "1", items=pinned((same["id"], 1), (left["id"], 1), (changed["id"], 1)))
    second = await set_down(alice, "2", items=pinned((same["id"], 1), (changed["id"], 2), (joined["id"], 1)))
    await alice.delete(f"{REQUIREMENTS}/{left['id']}", headers={"If-Match": '"1"'})

    def shown(requirement: dict[str, Any], title: str) -> dict[str, Any]:
        members = {"requirement_id": requirement["id"], "key": requirement["key"]}
        return {**members, "revision": 1, "title": title, "status": "draft"}

    difference = (await alice.get(f"{PATH}/{first['id']}/diff", params={"to": second["id"]})).json()
    assert difference == {
        "from": first["id"],
        "to": second["id"],
        "added": [shown(joined, "J")],
        "removed": [shown(left, "L")],
        "changed": [
            {
                "requirement_id": changed["id"],
                "key": changed["key"],
                "from": 1,
                "to": 2,
                "changes": [
                    {"pointer": "/labels/a~1b", "before": None, "after": "1"},
                    {"pointer": "/title", "before": "C", "after": "C2"},
                ],
            }
        ],
        "totals": {"added": 1, "removed": 1, "changed": 1},
    }
    back = (await alice.get(f"{PATH}/{second['id']}/diff", params={"to": first["id"]})).json()
    assert (back["added"], back["removed"]) == (difference["removed"], difference["added"])
    assert back["changed"][0]["changes"][1] == {"pointer": "/title", "before": "C2", "after": "C"}
    itself = (await alice.get(f"{PATH}/{first['id']}/diff", params={"to": first["id"]})).json()
    assert itself["totals"] == {"added": 0, "removed": 0, "changed": 0}
    for one, other in ((first["id"], uuid4()), (uuid4(), first["id"])):
        assert (await alice.get(f"{PATH}/{one}/diff", params={"to": str(other)})).status_code == 404
    assert (await alice.get(f"{PATH}/{first['id']}/diff")).json()["errors"][0]["parameter"] == "to"


async def test_a_difference_is_paged_with_exact_totals(alice: httpx.AsyncClient) -> None:
    ids = [(await created(alice))["id"] for _ in range(7)]
    for id in ids[:2]:
        await patched(alice, id, title="Changed")
    first = await set_down(alice, "1", items=pinned(*((id, 1) for id in ids[:4])))
    second = await set_down(alice, "2", items=pinned(*((id, 2) for id in ids[:2]), *((id, 1) for id in ids[4:])))

    async def page(skip: int, limit: int) -> dict[str, list[str]]:
        parameters = {"to": second["id"], "skip": skip, "limit": limit}
        body = (await alice.get(f"{PATH}/{first['id']}/diff", params=parameters)).json()
        assert body["totals"] == {"added": 3, "removed": 2, "changed": 2}
        return {kind: [item["requirement_id"] for item in body[kind]] for kind in ("added", "removed", "changed")}

    assert await page(0, 2) == {"added": [ids[6], ids[5]], "removed": [ids[3], ids[2]], "changed": [ids[1], ids[0]]}
    assert await page(2, 2) == {"added": [ids[4]], "removed": [], "changed": []}
    assert await page(2**31 - 1, 100) == {"added": [], "removed": [], "changed": []}


async def test_an_admin_deletes_a_baseline_and_nobody_changes_one(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, admin: httpx.AsyncClient, app: Any, caller: Any
) -> None:
    requirement = await created(alice)
    baseline = await set_down(alice, "a", items=pinned((requirement["id"], 1)))
    url = f"{PATH}/{baseline['id']}"
    for other in (alice, rita):
        assert (await other.delete(url, headers={"If-Match": '"1"'})).status_code == 403
    for method in ("PUT", "PATCH"):
        assert (await admin.request(method, url, json={"name": "b"})).status_code == 405
    for statement in ("UPDATE baselines SET name = 'b'", "UPDATE baseline_items SET revision = 2"):
        with pytest.raises(IntegrityError, match="never changed"):
            async with app.state.sessions.begin() as session:
                await session.execute(text(statement))
    assert (await admin.delete(url)).status_code == 428
    assert (await admin.delete(url, headers={"If-Match": '"2"'})).status_code == 412
    assert (await admin.delete(f"{url}?reason=a+mistake", headers={"If-Match": '"1"'})).status_code == 204
    for path in (url, f"{url}/items", f"{url}/diff?to={baseline['id']}"):
        assert (await alice.get(path)).status_code == 404
    assert (await admin.delete(url, headers={"If-Match": '"1"'})).status_code == 404
    assert await audited(caller, baseline["id"]) == [("deleted", "a mistake"), ("created", "")]
    assert (await alice.get(f"{REQUIREMENTS}/{requirement['id']}/revisions/1")).status_code == 200


async def test_editors_set_down_for_their_own_team(alice: httpx.AsyncClient, caller: Any) -> None:
    items = pinned(((await created(alice))["id"], 1))
    for other in (caller("viewer"), caller("reviewer")):
        assert (await other.post(PATH, json={"name": "a", "items": items})).status_code == 403
    refused = await alice.post(PATH, json={"name": "a", "team": "search", "items": items})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:plumbline:problem:not-your-team")


async def test_the_same_key_sets_down_once(alice: httpx.AsyncClient) -> None:
    content = {"name": "a", "items": pinned(((await created(alice))["id"], 1))}
    headers = {"Idempotency-Key": str(uuid4())}
    first = await alice.post(PATH, json=content, headers=headers)
    again = await alice.post(PATH, json=content, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"


ONE = str(UUID(int=1))


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({}, ""),
        ({"items": None, "select": None}, ""),
        ({"items": pinned((ONE, 1)), "select": {}}, ""),
        ({"items": []}, "/items"),
        ({"items": {}}, "/items"),
        ({"items": pinned((ONE, 1), (ONE, 2))}, "/items/1/requirement_id"),
        ({"items": pinned((ONE, 0))}, "/items/0/revision"),
        ({"items": pinned((ONE, 2**31))}, "/items/0/revision"),
        ({"items": [*pinned(*((str(UUID(int=n)), 1) for n in range(1500))), 7]}, "/items/1500"),
        ({"items": [*pinned((ONE, 1)), {"requirement_id": "x", "revision": 1}]}, "/items/1/requirement_id"),
        ({"items": [{"requirement_id": ONE, "revision": 1, "a/b": 1}]}, "/items/0/a~1b"),
        ({"select": {"colour": "red"}}, "/select/colour"),
        ({"select": {"status": "purple"}}, "/select/status"),
        ({"select": {"service": "a\x00"}}, "/select/service"),
        ({"name": "", "select": {}}, "/name"),
        ({"description": "x" * 20_001, "select": {}}, "/description"),
    ],
)
async def test_a_malformed_baseline_is_refused(
    alice: httpx.AsyncClient, members: dict[str, Any], pointer: str
) -> None:
    response = await alice.post(PATH, json={"name": "a"} | members)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["pointer"] == pointer
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_a_baseline_holds_up_to_a_hundred_thousand(alice: httpx.AsyncClient, app: Any) -> None:
    async with app.state.sessions.begin() as session:
        # A request may not take so long as these rows do on a busy machine.
        await session.execute(text("SET LOCAL statement_timeout = 0"))
        await session.execute(
            text(
                "INSERT INTO requirement_revisions"
                " (requirement_id, revision, at, actor, reason, status, changed, document)"
                " SELECT gen_random_uuid(), 1, now(), 'many', '', 'draft', '{}', json_build_object('id',"
                "  gen_random_uuid(), 'key', 'REQ-' || n, 'title', 't', 'status', 'draft', 'revision', 1)::text"
                " FROM generate_series(1, :many) AS n"
            ),
            {"many": LARGEST},
        )
        ids = await session.scalars(
            text("SELECT requirement_id::text FROM requirement_revisions WHERE actor = 'many'")
        )
    items = pinned(*((id, 1) for id in ids))
    assert len(items) == LARGEST
    most = await set_down(alice, "most", items=items)
    assert most["size"] == LARGEST
    page = (await alice.get(f"{PATH}/{most['id']}/items", params={"skip": LARGEST - 1})).json()
    assert (len(page["items"]), page["total"]) == (1, LARGEST)
    fewer = await set_down(alice, "fewer", items=items[:1])
    parameters = {"to": most["id"], "limit": 1}
    difference = (await alice.get(f"{PATH}/{fewer['id']}/diff", params=parameters)).json()
    assert difference["totals"] == {"added": LARGEST - 1, "removed": 0, "changed": 0}
    more = await alice.post(PATH, json={"name": "more", "items": [*items, *pinned((ONE, 1))]})
    assert (more.status_code, more.json()["errors"][0]["pointer"]) == (422, "/items")
    bad = await alice.post(PATH, json={"name": "bad", "items": [*items[:-1], *pinned((ONE, 1))]})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, f"/items/{LARGEST - 1}")
    assert (await alice.get(PATH)).json()["total"] == 2
