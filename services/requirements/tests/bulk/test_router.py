import json
from typing import Any
from uuid import uuid4

import httpx

from lifecycle import PATH, created

BULK = f"{PATH}/bulk"
LINES = {"Content-Type": "application/x-ndjson"}


def create(title: Any, **members: Any) -> dict[str, Any]:
    return {"op": "create", "content": {"title": title} | members}


async def test_each_item_has_its_own_result(alice: httpx.AsyncClient) -> None:
    one = await created(alice)
    response = await alice.post(
        BULK,
        json={
            "items": [
                create("A"),
                create(""),
                {"op": "update", "id": one["id"], "if_match": '"1"', "patch": {"title": "B"}, "reason": "better"},
                {"op": "update", "id": one["id"], "if_match": '"1"', "patch": {"title": "C"}},
                {"op": "transition", "id": one["id"], "if_match": '"2"', "to": "in_review"},
                {"op": "transition", "id": one["id"], "if_match": '"3"', "to": "retired"},
                {"op": "transition", "id": str(uuid4()), "to": "in_review"},
                {"op": "explode"},
                {"op": "create", "content": {"title": "x", "colour": "red"}},
                create("theirs", owner_team="search"),
            ]
        },
    )
    body = response.json()
    assert response.status_code == 200, response.text
    assert [item["status"] for item in body["items"]] == [201, 422, 200, 412, 200, 409, 404, 422, 422, 403]
    assert (body["succeeded"], body["failed"]) == (3, 7)
    problems = [item.get("problem", {}) for item in body["items"]]
    assert problems[1]["errors"][0]["pointer"] == "/content/title"
    assert problems[3]["etag"] == '"2"'
    assert problems[5]["legal"] == ["approved", "draft", "rejected"]
    assert problems[8]["errors"][0]["pointer"] == "/content/colour"
    assert (await alice.get(f"{PATH}/{one['id']}")).json()["status"] == "in_review"


async def test_all_or_nothing_means_it(alice: httpx.AsyncClient) -> None:
    refused = await alice.post(BULK, json={"items": [create("A"), create("B"), create("")], "atomic": True})
    assert refused.status_code == 409
    assert [item["index"] for item in refused.json()["items"]] == [2]
    assert (await alice.get(PATH)).json()["total"] == 0
    done = await alice.post(BULK, json={"items": [create("A"), create("B")], "atomic": True})
    assert done.json()["succeeded"] == 2


async def test_a_bulk_that_is_none_is_refused(alice: httpx.AsyncClient, caller: Any) -> None:
    for body in ({"items": []}, {"items": [create("x")] * 1001}, {"items": "x"}, {}):
        assert (await alice.post(BULK, json=body)).status_code == 422
    assert (await caller("viewer").post(BULK, json={"items": [create("x")]})).status_code == 403
    reviewer = await caller("reviewer", subject="rita").post(BULK, json={"items": [create("x")]})
    assert reviewer.json()["items"][0]["status"] == 403


async def lines(client: httpx.AsyncClient, content: bytes, **headers: str) -> list[dict[str, Any]]:
    response = await client.post(f"{BULK}/lines", content=content, headers=LINES | headers)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def test_lines_go_on_after_a_bad_one(alice: httpx.AsyncClient) -> None:
    content = [json.dumps(create(f"number {n}")).encode() for n in range(250)]
    content[120] = b'{"op": "create", "content": {"title": 7}}'
    content[121] = b"\xff not json"
    content[122] = b'{"op": "create", "content": {"title": "' + b"x" * 2_000_000 + b'"}}'
    results = await lines(alice, b"\n".join([*content, b"", b"  ", b""]))
    assert [result["index"] for result in results[:-1]] == list(range(250))
    assert [result["index"] for result in results[:-1] if result["status"] != 201] == [120, 121, 122]
    assert results[-1] == {"succeeded": 247, "failed": 3}
    assert (await alice.get(PATH)).json()["total"] == 247


async def test_a_stream_that_is_sent_again_is_not_done_twice(alice: httpx.AsyncClient) -> None:
    content = b"\n".join(json.dumps(create(f"number {n}")).encode() for n in range(150))
    first = await lines(alice, content[: len(content) // 2].rpartition(b"\n")[0], **{"Idempotency-Key": "load-1"})
    again = await lines(alice, content, **{"Idempotency-Key": "load-1"})
    assert again[: len(first) - 1] == first[:-1]
    assert (await alice.get(PATH)).json()["total"] == 150
    other = await lines(alice, content.replace(b"number 7", b"another 7", 1), **{"Idempotency-Key": "load-1"})
    assert other[7]["problem"]["type"].endswith("idempotency-key-reused")
    assert other[8:-1] == again[8:-1]
    assert (await alice.get(PATH)).json()["total"] == 150


async def test_lines_of_another_type_are_refused(alice: httpx.AsyncClient) -> None:
    assert (await alice.post(f"{BULK}/lines", json=create("x"))).status_code == 415
