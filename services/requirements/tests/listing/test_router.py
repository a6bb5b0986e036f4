"""Pages, filters, sort orders, cursors, totals and facets, against a plain computation of the same."""

import asyncio
import base64
import hashlib
import json
import random
from typing import Any

import httpx
import pytest

from lifecycle import PATH, created, moved, patched
from plumbline_requirements.listing import repository


@pytest.fixture
async def twelve(alice: httpx.AsyncClient) -> list[dict[str, Any]]:
    made = [
        await created(
            alice,
            title=f"{'Checkout' if number % 3 else 'Ledger'} answers p9{number % 4}",
            service=["shop", "bank", None][number % 3],
            type="latency" if number % 2 else "availability",
            labels={"tier": str(number % 2), **({"pci": "yes"} if number == 5 else {})},
        )
        for number in range(12)
    ]
    await moved(alice, made[3]["id"], "in_review", reviewers=["rita"])
    return [(await alice.get(f"{PATH}/{each['id']}")).json() for each in made]


async def listed(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    response = await client.get(PATH, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda each: True),
    ({"service": "shop"}, lambda each: each["service"] == "shop"),
    ({"service": ["shop", "bank"]}, lambda each: each["service"] in ("shop", "bank")),
    ({"type": "latency", "service": "bank"}, lambda each: (each["type"], each["service"]) == ("latency", "bank")),
    ({"status": "in_review"}, lambda each: each["status"] == "in_review"),
    ({"reviewer": "rita"}, lambda each: "rita" in each["reviewers"]),
    ({"label": "tier=1"}, lambda each: each["labels"]["tier"] == "1"),
    ({"label": ["tier=1", "pci"]}, lambda each: "pci" in each["labels"]),
    ({"label": ["tier=1", "tier=0"]}, lambda each: False),
    ({"q": "check"}, lambda each: "Checkout" in each["title"]),
    ({"q": "led p91"}, lambda each: each["title"] == "Ledger answers p91"),
    ({"q": "?!"}, lambda each: False),
    ({"created_by": "alice", "updated_by": "bob"}, lambda each: False),
    ({"in_force": "true"}, lambda each: False),
    ({"in_force": "false"}, lambda each: True),
    ({"verdict": "MET"}, lambda each: False),
    ({"created_after": "2020-01-01T00:00:00Z", "updated_before": "2021-01-01T00:00:00Z"}, lambda each: False),
]


@pytest.mark.parametrize("folded", [True, False])
async def test_each_filter_leaves_what_matches_and_counts_it(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]], app: Any, folded: bool
) -> None:
    if folded:
        async with app.state.sessions.begin() as session:
            await repository.fold(session, 1000)
    for query, matches in FILTERS:
        wanted = [each["id"] for each in reversed(twelve) if matches(each)]
        page = await listed(alice, **query)
        assert [item["id"] for item in page["items"]] == wanted, query
        assert page["total"] == len(wanted), query


async def test_a_key_and_an_id_are_found(alice: httpx.AsyncClient, twelve: list[dict[str, Any]]) -> None:
    one = twelve[4]
    for query in ({"key": one["key"]}, {"key": one["key"].lower()}, {"q": one["key"]}, {"id": one["id"]}):
        assert [item["id"] for item in (await listed(alice, **query))["items"]] == [one["id"]]


@pytest.mark.parametrize(
    "sort", ["", "title", "-title", "service,-title", "-updated_at", "type,-priority,title", "-service,-key", "-id"]
)
async def test_cursors_walk_the_whole_order_and_meet_each_once(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]], sort: str
) -> None:
    whole = [item["id"] for item in (await listed(alice, sort=sort))["items"]]
    expected = list(reversed(twelve))
    parts = [part for part in (sort or "-id").split(",") if part]
    parts += [] if parts[-1].endswith("id") else ["-id" if parts[-1].startswith("-") else "id"]
    for part in reversed(parts):
        name = part.removeprefix("-")
        number = (lambda each: int(each["key"][4:])) if name == "key" else (lambda each, n=name: each[n] or "")
        expected.sort(key=number, reverse=part.startswith("-"))
    assert whole == [each["id"] for each in expected]
    walked: list[str] = []
    page = await listed(alice, sort=sort, limit=5)
    while True:
        walked += [item["id"] for item in page["items"]]
        assert page["total"] == 12
        if "next" not in page:
            break
        page = await listed(alice, sort=sort, limit=5, cursor=page["next"])
    assert walked == whole


async def test_a_cursor_is_not_moved_by_what_is_written_meanwhile(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]]
) -> None:
    first = await listed(alice, limit=6)
    await created(alice, title="newer than all")
    second = await listed(alice, limit=6, cursor=first["next"])
    assert [item["id"] for item in first["items"] + second["items"]] == [each["id"] for each in reversed(twelve)]


async def test_a_cursor_of_another_query_or_a_damaged_one_is_refused(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]]
) -> None:
    cursor = (await listed(alice, limit=2, service="shop"))["next"]
    assert (await alice.get(PATH, params={"cursor": cursor, "service": "shop", "limit": 7})).status_code == 200
    damaged = cursor[:-3] + ("aaa" if not cursor.endswith("aaa") else "bbb")
    for query in ({"cursor": cursor}, {"cursor": damaged, "service": "shop"}, {"cursor": "%%%"}, {"cursor": "YQ"}):
        response = await alice.get(PATH, params=query)
        assert response.status_code == 422, query
        assert response.json()["errors"][0]["parameter"] == "cursor"


def forged(body: str) -> str:
    raw = body.encode()
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()[:8] + raw).decode().rstrip("=")


async def test_a_cursor_that_somebody_made_up_is_refused(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]]
) -> None:
    cursor = (await listed(alice, limit=2))["next"]
    made_for = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[8:])[0]
    bodies = ("[" * 2500, *(json.dumps([made_for, values]) for values in (["zzz"], [[1]], 7)))
    for body in bodies:
        response = await alice.get(PATH, params={"cursor": forged(body)})
        assert response.status_code == 422, body[:60]
        assert response.json()["errors"][0]["parameter"] == "cursor"


async def test_a_cursor_may_hold_the_longest_title(alice: httpx.AsyncClient) -> None:
    for number in range(3):
        await created(alice, title="漢" * 499 + str(number))
    cursor = (await listed(alice, sort="title", limit=2))["next"]
    assert len((await listed(alice, sort="title", limit=2, cursor=cursor))["items"]) == 1


async def test_only_the_fields_that_are_asked_for_are_answered(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]]
) -> None:
    page = await listed(alice, fields="title, key", limit=1)
    assert page["items"] == [{"title": twelve[-1]["title"], "key": twelve[-1]["key"]}]


async def test_facets_count_what_the_other_filters_leave(
    alice: httpx.AsyncClient, twelve: list[dict[str, Any]]
) -> None:
    page = await listed(alice, facets="service,type", service="shop", limit=1)
    assert page["facets"]["service"] == [
        {"value": "bank", "count": 4},
        {"value": "shop", "count": 4},
        {"value": None, "count": 4},
    ]
    assert {each["value"]: each["count"] for each in page["facets"]["type"]} == {"latency": 2, "availability": 2}
    labelled = await listed(alice, facets="service", label="tier=1")
    assert sum(each["count"] for each in labelled["facets"]["service"]) == labelled["total"] == 6


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"colour": "red"}, "colour"),
        ({"sort": "colour"}, "sort"),
        ({"sort": "title,title"}, "sort"),
        ({"sort": "title,-title"}, "sort"),
        ({"fields": "title,colour"}, "fields"),
        ({"facets": "title"}, "facets"),
        ({"key": "REQ-x"}, "key"),
        ({"label": ""}, "label"),
        ({"created_after": "soon"}, "created_after"),
        ({"id": ["0199a0b0-0000-7000-8000-000000000001"] * 51}, "id"),
        ({"service": ["x"] * 2000}, "service"),
    ],
)
async def test_what_cannot_be_asked_is_named(alice: httpx.AsyncClient, query: dict[str, Any], parameter: str) -> None:
    response = await alice.get(PATH, params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == parameter


async def test_totals_are_right_while_writers_write_and_the_folder_folds(alice: httpx.AsyncClient, app: Any) -> None:
    chance = random.Random(7)

    async def live(number: int) -> None:
        id = (await created(alice, service=f"s{number % 3}", title=f"t {number}"))["id"]
        for _ in range(chance.randrange(3)):
            await patched(alice, id, service=f"s{chance.randrange(3)}")
        if chance.random() < 0.3:
            etag = (await alice.get(f"{PATH}/{id}")).headers["etag"]
            await alice.delete(f"{PATH}/{id}", headers={"If-Match": etag})

    async def fold() -> None:
        for _ in range(20):
            async with app.state.sessions.begin() as session:
                await repository.fold(session, 5)
            await asyncio.sleep(0.01)

    await asyncio.gather(fold(), *(live(number) for number in range(40)))
    everything = (await listed(alice, limit=100))["items"]
    assert (await listed(alice, limit=1))["total"] == len(everything)
    for service in ("s0", "s1", "s2"):
        wanted = sum(each["service"] == service for each in everything)
        assert (await listed(alice, service=service))["total"] == wanted
        assert (await listed(alice, service=service, type="other"))["total"] == wanted
