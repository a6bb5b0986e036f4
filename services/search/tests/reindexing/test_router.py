import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text

from indexed import document
from plumbline_search.documents import indexing

REINDEX = "/api/v1/reindex"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin(app: FastAPI, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, issuer.token("admin")) as client:
        yield client


@asynccontextmanager
async def client_of(app: FastAPI, token: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://search", headers=headers) as client:
        yield client


async def written(app: FastAPI, number: int) -> None:
    each = document(number, title=f"checkout {number}")
    found_by = await indexing.read(app.state.serving, None, each.title, each.body)
    async with app.state.sessions.begin() as session:
        await indexing.index(session, app.state.serving, each, found_by)


async def test_an_index_is_built_with_progress_and_swapped_while_all_is_found(
    app: FastAPI, admin: httpx.AsyncClient
) -> None:
    for number in range(1, 41):
        await written(app, number)
    before = (await admin.get(REINDEX)).json()
    assert (before["documents"], before["building"]) == (40, None)
    begun = await admin.post(REINDEX)
    assert begun.status_code == 202
    assert begun.json()["building"]["asked_by"] == "alice"
    again = await admin.post(REINDEX)
    assert (again.status_code, again.json()["type"]) == (409, "urn:plumbline:problem:already-reindexing")
    seen = []
    async with asyncio.timeout(60):
        while (status := (await admin.get(REINDEX)).json())["building"] is not None:
            seen.append(status["building"]["done"])
            found = await admin.post("/api/v1/search", json={"query": "checkout", "limit": 100})
            assert len(found.json()["items"]) == 40
            await asyncio.sleep(0.02)
    assert seen == sorted(seen)
    assert status["live"]["id"] == begun.json()["building"]["id"]
    assert status["live"]["done"] == 40


async def test_what_is_built_can_be_given_up(app: FastAPI, admin: httpx.AsyncClient) -> None:
    assert (await admin.delete(REINDEX)).json()["type"] == "urn:plumbline:problem:not-reindexing"
    async with app.state.sessions.begin() as session:
        await session.execute(text("DELETE FROM search_indexes WHERE state = 'old'"))
        await session.execute(
            text(
                "INSERT INTO search_indexes (slot, state, model, dimensions, analysis, asked_by)"
                " SELECT 1 - slot, 'building', 'nobody has it', 256, 1, 'x' FROM search_indexes"
            )
        )
    assert (await admin.get(REINDEX)).json()["building"]["model"] == "nobody has it"
    assert (await admin.delete(REINDEX)).status_code == 204
    assert (await admin.get(REINDEX)).json()["building"] is None


async def test_a_check_says_what_is_missing_and_it_is_repaired(app: FastAPI, admin: httpx.AsyncClient) -> None:
    slot = (await app_rows(app, "SELECT slot FROM search_indexes WHERE state = 'live'"))[0][0]
    await app_rows(app, f"DELETE FROM search_passages_{slot} WHERE version % 2 = 0 RETURNING 1")
    answer = await admin.post(f"{REINDEX}/check")
    assert answer.status_code == 200, answer.text
    assert answer.json()["missing"] == 20
    assert [each["producer"] for each in answer.json()["producers"]] == ["analysis", "requirements"]
    async with asyncio.timeout(30):
        while (await admin.post(f"{REINDEX}/check")).json()["missing"]:
            await asyncio.sleep(0.1)


async def app_rows(app: FastAPI, statement: str) -> list[Any]:
    async with app.state.sessions.begin() as session:
        return list(await session.execute(text(statement)))


async def test_only_admins_rebuild_and_check(client: httpx.AsyncClient) -> None:
    assert (await client.get(REINDEX)).status_code == 200
    for method, path in (("POST", REINDEX), ("DELETE", REINDEX), ("POST", f"{REINDEX}/check")):
        assert (await client.request(method, path)).status_code == 403
