"""Plumbline's API through the gateway."""

import asyncio
from collections.abc import AsyncIterator
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
        self.problem: dict[str, Any] = body if isinstance(body, dict) else {}
        self.status = response.status_code
        said = self.problem.get("detail") or self.problem.get("title") or response.text[:200]
        at_fault = "".join(f"; {reason}" for reason in self.reasons if not reason.endswith(str(said)))
        trace = f" (trace {self.problem['trace_id']})" if self.problem.get("trace_id") else ""
        super().__init__(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {said}{at_fault}{trace}"
        )

    @property
    def reasons(self) -> list[str]:
        """What is wrong with which member or parameter; the problem as a whole where that is not said."""
        fields = [each for each in self.problem.get("errors") or [] if isinstance(each, dict)]
        if not fields:
            return [str(self.problem.get("detail") or self.problem.get("title") or f"status {self.status}")]
        return [f"{each.get('pointer') or each.get('parameter') or '/'}: {each.get('detail')}" for each in fields]


class Gateway:
    """One caller. Every method raises `Refused` where the answer is a problem, `httpx.HTTPError` without one."""

    def __init__(self, url: str, token: str | httpx.Auth, timeout: float = 15) -> None:
        known = {"Authorization": f"Bearer {token}"} if isinstance(token, str) else {}
        auth = token if isinstance(token, httpx.Auth) else None
        self._http = httpx.AsyncClient(base_url=url, headers=known, auth=auth, timeout=timeout, trust_env=False)

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

    async def post(self, path: str, body: Any, key: str, **headers: str) -> httpx.Response:
        """POST under an Idempotency-Key: sent again where the answer is lost, or nobody is there to give one."""
        for pause in (0.2, 1.0, None):
            try:
                return await self.send("POST", path, json=body, headers={"Idempotency-Key": key, **headers})
            except (httpx.TransportError, Refused) as error:
                if pause is None or (isinstance(error, Refused) and error.status not in (502, 503, 504)):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def change(self, path: str, verb: str, body: Any, key: str) -> dict[str, Any]:
        """POST to `path`/`verb` under the revision that `path` has now; the body of the answer."""
        etag = (await self.send("GET", path)).headers["etag"]
        changed: dict[str, Any] = (await self.post(f"{path}/{verb}", body, key, **{"If-Match": etag})).json()
        return changed

    async def posted(self, path: str, body: Any = None) -> Any:
        """The body of the answer to a POST."""
        return (await self.send("POST", path, json=body)).json()

    async def lines(self, path: str, method: str = "GET", **options: Any) -> AsyncIterator[bytes]:
        """The lines of an answer as they come. Text may hold U+2028: only a line feed ends a line."""
        waits = httpx.Timeout(15, read=120)
        async with self._http.stream(method, path, timeout=waits, **options) as response:
            if response.is_error:
                await response.aread()
                raise Refused(response)
            rest = b""
            async for chunk in response.aiter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest

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
