"""Plumbline's API through the gateway."""

from types import TracebackType
from typing import Any, Self

import httpx


class Refused(Exception):
    """The gateway answered with a problem."""

    def __init__(self, response: httpx.Response) -> None:
        try:
            body = response.json()
        except ValueError:
            body = {}
        said = body.get("detail") or body.get("title") or response.text[:200]
        trace = f" (trace {body['trace_id']})" if body.get("trace_id") else ""
        super().__init__(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {said}{trace}"
        )
        self.status = response.status_code


class Gateway:
    """One caller. Every method raises `Refused` where the answer is a problem, `httpx.HTTPError` without one."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=15, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = await self._http.request(method, path, **options)
        if response.is_error:
            raise Refused(response)
        return response

    async def get(self, path: str, **query: Any) -> Any:
        """The body of a GET; parameters that are None are left out."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return (await self.send("GET", path, params=wanted)).json()

    async def create(self, body: dict[str, Any]) -> httpx.Response:
        return await self.send("POST", "/api/v1/requirements", json=body)

    async def move(self, id: str, to: str) -> dict[str, Any]:
        """Take a requirement on to the state `to`, whatever its present revision."""
        path = f"/api/v1/requirements/{id}"
        now = await self.send("GET", path)
        moved = await self.send("PATCH", path, json={"status": to}, headers={"If-Match": now.headers["etag"]})
        body: dict[str, Any] = moved.json()
        return body

    async def search(self, query: str, limit: int = 10, **filters: Any) -> dict[str, Any]:
        body: dict[str, Any] = (
            await self.send("POST", "/api/v1/search", json={"query": query, "limit": limit, **filters})
        ).json()
        return body
