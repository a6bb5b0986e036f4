import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from plumbline_common import outbox

PATH = "/api/v1/requirements"


async def test_what_is_created_together_comes_to_each_as_if_alone(
    app: FastAPI, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LARGEST", 10_000)
    key = {"Idempotency-Key": "together-1"}

    async def post(number: int, **more: str) -> httpx.Response:
        headers = {"X-Request-ID": f"together-{number}"} | (key if 10 <= number < 20 else {})
        body = {"title": "Ten" if 10 <= number < 19 else f"Number {number}"} | more
        return await alice.post(PATH, json=body, headers=headers)

    replies = await asyncio.gather(
        *(post(number) for number in range(30)), post(30, description="x" * 15_000), post(31, status="active")
    )
    assert [reply.status_code for reply in replies[:10]] == [201] * 10
    answered = [reply for reply in replies[10:20] if reply.status_code == 201]
    assert {reply.status_code for reply in replies[10:20]} == {201, 422}
    assert len({reply.content for reply in answered}) == 1
    assert [reply.status_code for reply in replies[20:]] == [201] * 10 + [413, 409]

    made = {reply.json()["id"]: reply for reply in replies if reply.status_code == 201}
    assert len(made) == 21
    assert len({reply.json()["key"] for reply in made.values()}) == 21
    assert (await alice.get(PATH)).json()["total"] == 21
    async with app.state.read_sessions() as session:
        rows = await session.execute(
            text("SELECT entity_id, entry FROM audit_entries WHERE entity_id = ANY(:ids)"), {"ids": list(made)}
        )
        entries = {row.entity_id: json.loads(row.entry) for row in rows}
        staged = await session.scalar(text("SELECT count(*) FROM outbox WHERE key = ANY(:ids)"), {"ids": list(made)})
    assert staged == 21
    for id, reply in made.items():
        if reply not in answered:
            assert entries[id]["request_id"] == reply.headers["x-request-id"]


async def test_a_lone_create_waits_for_no_other(alice: httpx.AsyncClient) -> None:
    replies = [await alice.post(PATH, json={"title": f"Alone {number}"}) for number in range(3)]
    numbers = [int(reply.json()["key"].removeprefix("REQ-")) for reply in replies]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
