"""Short ways to move requirements about, for the tests of several nouns."""

from typing import Any

import httpx

PATH = "/api/v1/requirements"


async def created(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"title": "Checkout answers"} | members)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def patched(client: httpx.AsyncClient, id: str, **members: Any) -> httpx.Response:
    etag = (await client.get(f"{PATH}/{id}")).headers["etag"]
    return await client.patch(f"{PATH}/{id}", json=members, headers={"If-Match": etag})


async def moved(client: httpx.AsyncClient, id: str, to: str, **members: Any) -> httpx.Response:
    etag = (await client.get(f"{PATH}/{id}")).headers["etag"]
    return await client.post(f"{PATH}/{id}/transitions", json={"to": to} | members, headers={"If-Match": etag})


async def activated(editor: httpx.AsyncClient, reviewer: httpx.AsyncClient, id: str) -> dict[str, Any]:
    for client, to in ((editor, "in_review"), (reviewer, "approved"), (editor, "active")):
        response = await moved(client, id, to)
        assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body
