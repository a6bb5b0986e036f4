"""POST to visible in search at 50 writes a second, and how fast a relay works off a backlog of 100,000 events."""

import asyncio
import json
import statistics
import time
import uuid
from typing import NamedTuple

import asyncpg
import harness
import httpx

WRITES_PER_S = 50
SECONDS = 20
BACKLOG = 100_000


async def searchable(servers: harness.Servers) -> None:
    """Requirements through the API; search's own table tells when each could be found first."""
    search_environment = servers.environment("search")
    async with (
        harness.uvicorn("plumbline_search.main:create_app", search_environment, servers.folder) as search,
        harness.uvicorn(
            "plumbline_requirements.main:create_app", servers.environment("requirements"), servers.folder
        ) as requirements,
    ):
        writers = Writers(requirements, servers.issuer.token("editor"))
        await writers.write(10, 2)  # warm
        watch = await asyncpg.connect(servers.postgres.asyncpg_dsn("search"))
        stop = asyncio.Event()
        seen: dict[uuid.UUID, float] = {}
        watching = asyncio.create_task(_watch(watch, seen, stop))
        posted = await writers.write(WRITES_PER_S, SECONDS)
        deadline = time.monotonic() + 30
        while not posted.keys() <= seen.keys() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        stop.set()
        await watching
        await watch.close()
        writers.close()
        await _really(search, servers, *next(reversed(posted.items())))
    missing = posted.keys() - seen.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(posted)} requirements never came to be searchable")
    waits = sorted((seen[id] - post.at) * 1000 for id, post in posted.items())
    p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99)]
    harness.row("events", "post_to_searchable_p50_ms", p50, "ms")
    harness.row("events", "post_to_searchable_p99_ms", p99, "ms", bar=250, ok=p99 < 250)


class Post(NamedTuple):
    """A request: when it was sent, and what it said."""

    at: float
    title: str


class Writers:
    """POSTs over kept connections, with little more than the bytes: a full client would take a fifth of a core."""

    def __init__(self, url: str, token: str) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._token = token
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def write(self, rate: int, seconds: int) -> dict[uuid.UUID, Post]:
        """POST at a steady rate. What came of each by its id."""
        sent: dict[uuid.UUID, Post] = {}
        async with asyncio.TaskGroup() as group:
            due = time.monotonic()
            for number in range(rate * seconds):
                group.create_task(self._one(number, sent))
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return sent

    async def _one(self, number: int, sent: dict[uuid.UUID, Post]) -> None:
        title = f"Order {number} is confirmed quickly"
        body = json.dumps(
            {
                "title": title,
                "statement": f"When a customer places order {number}, the shop shall confirm it within 2 s.",
                "description": "The confirmation is an e-mail and a page. Both carry the number of the order.",
                "service": "shop",
            }
        ).encode()
        began = time.time()
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(self._host, int(self._port))
        )
        writer.write(
            b"POST /api/v1/requirements HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (self._host.encode(), self._token.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(answer.decode())
        self._idle.append((reader, writer))
        sent[uuid.UUID(json.loads(answer)["id"])] = Post(began, title)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _watch(connection: asyncpg.Connection, seen: dict[uuid.UUID, float], stop: asyncio.Event) -> None:
    """Note when each document is committed, for that is what a search sees. Asked every 20 ms: asking costs, too."""
    newest = 0
    while not stop.is_set():
        rows = await connection.fetch(
            "SELECT id, entity_id FROM search_documents WHERE id > $1 AND kind = 'requirement' ORDER BY id", newest
        )
        now = time.time()
        for found in rows:
            seen.setdefault(found["entity_id"], now)
            # Ids are drawn before they are committed: an older one may still come.
            newest = max(newest, found["id"] - 40)
        await asyncio.sleep(0.02)


async def _really(search: str, servers: harness.Servers, id: uuid.UUID, post: Post) -> None:
    """The table tells the truth: the search itself finds the last one by its title."""
    async with httpx.AsyncClient(base_url=search, trust_env=False) as client:
        response = await client.post(
            "/api/v1/search",
            json={"query": post.title, "limit": 5},
            headers={"Authorization": f"Bearer {servers.issuer.token('viewer')}"},
        )
        response.raise_for_status()
        found = [item["entity_id"] for item in response.json()["items"]]
        assert str(id) in found, f"“{post.title}” cannot be found"


async def relay(servers: harness.Servers) -> None:
    """One service process whose outbox holds 100,000 events when it starts."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("requirements"))
    await connection.execute(
        "INSERT INTO outbox (id, subject, key, data, trace)"
        " SELECT uuidv7(), subject, key, data, trace FROM (SELECT * FROM outbox ORDER BY seq LIMIT 1) AS one,"
        " generate_series(1, $1)",
        BACKLOG,
    )
    before = await connection.fetchval("SELECT coalesce(max(published), 0) FROM outbox_producer")
    began = time.monotonic()
    async with harness.uvicorn(
        "plumbline_requirements.main:create_app", servers.environment("requirements"), servers.folder
    ):
        first: tuple[float, int] | None = None
        while True:
            published = await connection.fetchval("SELECT coalesce(max(published), 0) FROM outbox_producer") - before
            now = time.monotonic()
            if published and first is None:
                first = (now, published)
            if published >= BACKLOG or now - began > 120:
                break
            await asyncio.sleep(0.02)
    await connection.close()
    assert first is not None
    rate = (published - first[1]) / (now - first[0])
    harness.row("events", "relay_events_per_s", rate, "events/s", bar=5000, ok=rate >= 5000)


async def main() -> None:
    async with harness.servers() as servers:
        for service in ("requirements", "search"):
            await harness.migrate(servers, service)
        harness.say(f"{WRITES_PER_S} writes/s for {SECONDS} s")
        await searchable(servers)
        harness.say(f"a backlog of {BACKLOG} events")
        await relay(servers)


if __name__ == "__main__":
    asyncio.run(main())
