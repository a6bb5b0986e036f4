from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest_asyncio
from fastapi import FastAPI

FEEDBACK = "/api/v1/search/feedback"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def editor(app: FastAPI, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {issuer.token('editor')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://search", headers=headers) as client:
        yield client


def said(query: str, number: int, action: str, **more: Any) -> dict[str, Any]:
    return {"query": query, "kind": "runbook", "entity_id": str(UUID(int=number)), "action": action, **more}


async def test_feedback_comes_to_a_grade_for_each_query_and_hit(
    client: httpx.AsyncClient, editor: httpx.AsyncClient
) -> None:
    given = (
        said("disk full", 1, "clicked", rank=1),
        said("disk full", 1, "accepted", rank=1),
        said("disk full", 1, "clicked"),
        said("disk full", 2, "accepted"),
        said("disk full", 2, "rejected", rank=7),
        said("disk full", 3, "clicked"),
        said("queue grows", 1, "rejected"),
    )
    for each in given:
        answer = await client.post(FEEDBACK, json=each)
        assert answer.status_code == 201, answer.text
    page = (await editor.get(FEEDBACK, params={"limit": 2})).json()
    assert page["total"] == 7
    assert [item["query"] for item in page["items"]] == ["queue grows", "disk full"]
    assert page["items"][0]["actor"] == "alice"
    judged = (await editor.get(f"{FEEDBACK}/judgements")).json()
    assert judged["total"] == 4
    grades = [(item["query"], UUID(item["entity_id"]).int, item["grade"]) for item in judged["items"]]
    assert grades == [("disk full", 1, 2), ("disk full", 2, 0), ("disk full", 3, 1), ("queue grows", 1, 0)]
    rest = (await editor.get(f"{FEEDBACK}/judgements", params={"skip": 3})).json()
    assert len(rest["items"]) == 1


async def test_only_editors_see_what_others_asked(client: httpx.AsyncClient) -> None:
    assert (await client.get(FEEDBACK)).status_code == 403
    assert (await client.get(f"{FEEDBACK}/judgements")).status_code == 403


async def test_an_action_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(FEEDBACK, json=said("x", 1, "loved"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/action")
