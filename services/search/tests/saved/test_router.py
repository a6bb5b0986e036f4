from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

SAVED = "/api/v1/saved-searches"
CONTENT = {
    "team": "storage",
    "name": "Disk trouble",
    "query": '"disk full" -test',
    "kinds": ["runbook", "anomaly"],
    "service": "database",
    "filter": {"and": [{"facet": "severity", "in": ["critical"]}, {"not": {"facet": "state", "exists": True}}]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def editor(app: FastAPI, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {issuer.token('editor', teams=['storage'])}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://search", headers=headers) as client:
        yield client


async def test_a_saved_search_is_read_as_it_was_saved_until_it_is_deleted(
    client: httpx.AsyncClient, editor: httpx.AsyncClient
) -> None:
    created = await editor.post(SAVED, json=CONTENT)
    assert created.status_code == 201, created.text
    path = created.headers["Location"]
    read = (await client.get(path)).json()
    assert {name: read[name] for name in CONTENT} == CONTENT
    page = (await client.get(SAVED, params={"team": "storage"})).json()
    assert (page["total"], page["items"]) == (1, [read])
    assert (await client.get(SAVED, params={"team": "payments"})).json()["total"] == 0
    again = await editor.post(SAVED, json=CONTENT)
    assert (again.status_code, again.json()["errors"][0]["pointer"]) == (409, "/name")
    assert (await editor.delete(path)).status_code == 204
    assert (await editor.delete(path)).status_code == 404
    assert (await client.get(path)).status_code == 404


async def test_only_its_team_saves_and_deletes(client: httpx.AsyncClient, editor: httpx.AsyncClient) -> None:
    assert (await client.post(SAVED, json=CONTENT)).status_code == 403
    assert (await editor.post(SAVED, json=CONTENT | {"team": "payments"})).status_code == 403
    path = (await editor.post(SAVED, json=CONTENT)).headers["Location"]
    assert (await client.delete(path)).status_code == 403
    assert (await editor.delete(path)).status_code == 204


@pytest.mark.parametrize(
    "content",
    [
        {"team": "storage", "name": "nothing"},
        {"team": "storage", "name": "", "query": "disk"},
        {"team": "storage", "name": "deep", "filter": {"and": []}},
        {"name": "nobody's", "query": "disk"},
    ],
)
async def test_what_cannot_be_looked_for_is_refused(editor: httpx.AsyncClient, content: Any) -> None:
    assert (await editor.post(SAVED, json=content)).status_code == 422


async def test_there_is_no_such_search(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{SAVED}/{uuid4()}")).status_code == 404
