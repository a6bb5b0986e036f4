import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

PATH = "/api/v1/views"
MINE = {
    "team": "payments",
    "name": "To review",
    "query": {"status": ["draft", "in_review"], "in_force": "true", "sort": "-updated_at,title", "label": "a=b"},
}


async def kept(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=MINE | members)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def audited(caller: Any, id: str) -> list[str]:
    client = caller("admin", subject="root")
    items = (await client.get("/api/v1/audit", params={"entity_id": id})).json()["items"]
    return [item["entry"]["action"] for item in items]


async def test_a_view_is_kept_found_and_can_be_shown(alice: httpx.AsyncClient, caller: Any) -> None:
    response = await alice.post(PATH, json=MINE)
    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert response.headers["location"] == f"{PATH}/{body['id']}"
    assert {name: body[name] for name in MINE} == MINE
    found = await caller("viewer").get(response.headers["location"])
    assert (found.json(), found.headers["etag"]) == (body, '"1"')
    assert (await alice.get("/api/v1/requirements", params=body["query"])).status_code == 200
    assert await audited(caller, body["id"]) == ["created"]


async def test_a_view_shows_what_its_query_finds(alice: httpx.AsyncClient) -> None:
    for number in range(3):
        wanted = {"title": f"number {number}", "labels": {"a": "b"}, "owner_team": "payments"}
        await alice.post("/api/v1/requirements", json=wanted)
    await alice.post("/api/v1/requirements", json={"title": "another"})
    query = {"label": "a=b", "sort": "title", "fields": "title"}
    path = f"{PATH}/{(await kept(alice, name='Numbers', query=query))['id']}/requirements"
    first = (await alice.get(path, params={"limit": 2})).json()
    assert ([item["title"] for item in first["items"]], first["total"]) == (["number 0", "number 1"], 3)
    second = (await alice.get(path, params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["title"] for item in second["items"]] == ["number 2"]
    assert (await alice.get(path, params={"cursor": "x"})).status_code == 422


async def test_the_views_of_a_team_are_listed_newest_first(alice: httpx.AsyncClient, caller: Any) -> None:
    first, second = await kept(alice), await kept(alice, name="Other", query={})
    other = await kept(caller("editor", teams=("search",)), team="search")
    page = (await alice.get(PATH, params={"team": "payments"})).json()
    assert (page["items"], page["total"]) == ([second, first], 2)
    page = (await alice.get(PATH, params={"skip": 1, "limit": 1})).json()
    assert (page["items"], page["total"]) == ([second], 3)
    assert (await alice.get(PATH)).json()["items"][0] == other
    assert (await alice.get(PATH, params={"team": "nobody"})).json() == {"items": [], "total": 0}


async def test_a_name_is_taken_once_in_a_team(alice: httpx.AsyncClient, caller: Any) -> None:
    first = await kept(alice)
    refused = await alice.post(PATH, json=MINE | {"name": " To review ", "query": {}})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith(":view-exists")
    assert refused.json()["errors"][0]["pointer"] == "/name"
    await kept(caller("editor", teams=("search",)), team="search")
    second = await kept(alice, name="Other")
    renamed = await alice.put(f"{PATH}/{second['id']}", json=MINE, headers={"If-Match": '"1"'})
    assert renamed.status_code == 409
    assert (await alice.get(f"{PATH}/{second['id']}")).json() == second
    assert (await alice.get(f"{PATH}/{first['id']}")).json() == first
    assert await audited(caller, second["id"]) == ["created"]


async def test_of_many_at_once_one_takes_the_name(alice: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(alice.post(PATH, json=MINE) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert (await alice.get(PATH)).json()["total"] == 1


async def test_a_view_is_written_anew_with_the_etag_that_was_read(alice: httpx.AsyncClient, caller: Any) -> None:
    url = f"{PATH}/{(await kept(alice))['id']}"
    anew = MINE | {"query": {"q": "pay"}}
    assert (await alice.put(url, json=anew)).status_code == 428
    stale = await alice.put(url, json=anew, headers={"If-Match": '"2"'})
    assert (stale.status_code, stale.headers["etag"]) == (412, '"1"')
    written = await alice.put(url, json=anew, headers={"If-Match": '"1"'})
    assert (written.status_code, written.headers["etag"]) == (200, '"2"')
    assert written.json()["query"] == {"q": "pay"}
    assert (await alice.get(url)).json() == written.json()
    same = await alice.put(url, json=anew, headers={"If-Match": '"2"'})
    assert same.json()["revision"] == 2
    assert await audited(caller, written.json()["id"]) == ["updated", "created"]


async def test_of_two_writers_at_once_one_is_stale(alice: httpx.AsyncClient) -> None:
    url = f"{PATH}/{(await kept(alice))['id']}"
    answers = await asyncio.gather(
        *(alice.put(url, json=MINE | {"name": f"n{n}"}, headers={"If-Match": '"1"'}) for n in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


async def test_a_view_is_deleted_with_the_etag_that_was_read(alice: httpx.AsyncClient, caller: Any) -> None:
    view = await kept(alice)
    url = f"{PATH}/{view['id']}"
    assert (await alice.delete(url)).status_code == 428
    assert (await alice.delete(url, headers={"If-Match": '"7"'})).status_code == 412
    assert (await alice.delete(url, headers={"If-Match": '"1"'})).status_code == 204
    assert (await alice.get(url)).status_code == 404
    assert (await alice.delete(url, headers={"If-Match": '"1"'})).status_code == 404
    assert (await alice.put(url, json=MINE, headers={"If-Match": '"1"'})).status_code == 404
    assert await audited(caller, view["id"]) == ["deleted", "created"]


async def test_only_editors_of_the_team_and_admins_write(alice: httpx.AsyncClient, caller: Any) -> None:
    url = f"{PATH}/{(await kept(alice))['id']}"
    others = [caller("editor", subject="sam", teams=("search",)), caller("viewer"), caller("reviewer")]
    for other in others:
        assert (await other.post(PATH, json=MINE | {"name": "b"})).status_code == 403
        assert (await other.put(url, json=MINE, headers={"If-Match": '"1"'})).status_code == 403
        assert (await other.delete(url, headers={"If-Match": '"1"'})).status_code == 403
    given_away = await alice.put(url, json=MINE | {"team": "search"}, headers={"If-Match": '"1"'})
    assert given_away.json()["type"].endswith(":not-your-team")
    admin = caller("admin", subject="root", teams=())
    moved = await admin.put(url, json=MINE | {"team": "search"}, headers={"If-Match": '"1"'})
    assert moved.json()["team"] == "search"


async def test_the_same_key_keeps_one_view(alice: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first = await alice.post(PATH, json=MINE, headers=headers)
    again = await alice.post(PATH, json=MINE, headers=headers)
    assert (again.status_code, again.content, again.headers["etag"]) == (201, first.content, '"1"')
    assert again.headers["idempotency-replayed"] == "true"
    other = await alice.post(PATH, json=MINE | {"name": "b"}, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"query": {"colour": "red"}}, "/query/colour"),
        ({"query": {"a/b~": "red"}}, "/query/a~1b~0"),
        ({"query": {"skip": "10"}}, "/query/skip"),
        ({"query": {"cursor": "x"}}, "/query/cursor"),
        ({"query": {"status": "purple"}}, "/query/status"),
        ({"query": {"status": ["draft", "purple"]}}, "/query/status"),
        ({"query": {"q": ["a", "b"]}}, "/query/q"),
        ({"query": {"created_after": "yesterday"}}, "/query/created_after"),
        ({"query": {"sort": "-colour"}}, "/query/sort"),
        ({"query": {"fields": "id,colour"}}, "/query/fields"),
        ({"query": {"facets": "title"}}, "/query/facets"),
        ({"query": {"status": []}}, "/query/status"),
        ({"query": {"status": ["draft"] * 51}}, "/query/status"),
        ({"query": {"q": "x" * 501}}, "/query/q"),
        ({"query": {"q": "a\x00b"}}, "/query/q"),
        ({"query": {"q": 7}}, "/query/q"),
        ({"query": {"status": ["draft", None]}}, "/query/status"),
        ({"query": {"x" * 200: "red"}}, f"/query/{'x' * 200}"),
        ({"query": {f"a{n}": "x" for n in range(10_000)}}, "/query"),
        ({"query": "status=draft"}, "/query"),
        ({"team": " "}, "/team"),
        ({"team": None}, "/team"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "a\x00b"}, "/name"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_what_the_list_would_refuse_is_not_kept(
    alice: httpx.AsyncClient, members: dict[str, Any], pointer: str
) -> None:
    response = await alice.post(PATH, json=MINE | members)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["pointer"] == pointer
    assert (await alice.get(PATH)).json()["total"] == 0
