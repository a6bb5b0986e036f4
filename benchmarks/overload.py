"""What the suite does at ten times what it can answer: the embedded stack, its gateway in front, all on this machine.

What people do is mixed: lists, single requirements, searches, anomalies, incidents, signals, and one write in ten.
The sustainable rate is what eight callers get who each ask anew once they are answered. Then requests come at fixed
times, whether or not those before are answered: half of the sustainable rate, ten times as much, half again; and the
same once more, for what memory the second round takes tells whether it is bounded. The services have a niceness of 5,
the gateway lets 4 requests at once into each, and one request in a hundred is traced. The callers are a process of
their own, of fifty subjects at eight addresses; a latency is that from the time at which the request was due.
"""

import asyncio
import json
import os
import random
import sys
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import harness
import httpx

from plumbline_stack.supervisor import Stack

TIMES = 10
CALM_SECONDS = 15
LOAD_SECONDS = 30
REQUIREMENTS = 300
SUBJECTS = 50
ADDRESSES = 8
CONNECTIONS = 2000
"""At most, of the callers."""
MOST_MS = 1000.0
RECOVERED_SECONDS = 10.0
GROWTH_MB = 64.0
"""What the second round may take over the first: what is bounded has grown by then."""


@dataclass(frozen=True)
class Reply:
    """Seconds since the phase began, and how long it took; `status` 0 is no answer. `sound` is a refusal that says
    when to come again, or an answer that is none."""

    due: float
    seconds: float
    status: int
    sound: bool


@dataclass(frozen=True)
class Phase:
    rate: float
    seconds: float


# --- The callers, in a process of their own --------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One request after the other; reads of an answer what the bench asks."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[tuple[int, bool]] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((0, False))

    async def ask(self, request: bytes) -> tuple[int, bool]:
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        if b"content-length" in headers:
            complete = len(rest) >= int(headers[b"content-length"])
        else:
            complete = rest.endswith(b"0\r\n\r\n") or headers.get(b"transfer-encoding") != b"chunked"
        if complete and self._answered is not None and not self._answered.done():
            status = int(lines[0].split()[1])
            self._buffer = b""
            if headers.get(b"connection") == b"close":
                self.close()
            self._answered.set_result((status, status not in (429, 503) or b"retry-after" in headers))


class Callers:
    """`given` names the port, tokens and requests, each with its weight."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._port = given["port"]
        self._tokens: list[str] = given["tokens"]
        self._kinds: list[tuple[str, str, str | None]] = [tuple(kind) for kind in given["requests"]]
        self._weights: list[int] = given["weights"]
        self._random = random.Random(1)
        self._idle: list[Connection] = []
        self._open = 0

    def _request(self) -> bytes:
        method, path, body = self._random.choices(self._kinds, self._weights)[0]
        lines = [f"{method} {path} HTTP/1.1", "host: gateway"]
        lines.append(f"authorization: Bearer {self._random.choice(self._tokens)}")
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
            lines.append(f"idempotency-key: {uuid.UUID(int=self._random.getrandbits(128))}")
        return ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode()

    async def _connection(self) -> Connection | None:
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
            self._open -= 1
        if self._open >= CONNECTIONS:
            return None
        self._open += 1
        loop = asyncio.get_running_loop()
        local = (f"127.0.0.{2 + self._open % ADDRESSES}", 0)
        try:
            return (await loop.create_connection(Connection, "127.0.0.1", self._port, local_addr=local))[1]
        except OSError:
            self._open -= 1
            return None

    async def ask(self, began: float, due: float) -> Reply:
        loop = asyncio.get_running_loop()
        status, sound = 0, False
        connection = await self._connection()
        if connection is not None:
            try:
                async with asyncio.timeout(30):
                    status, sound = await connection.ask(self._request())
                self._idle.append(connection)
            except TimeoutError:
                connection.close()
                self._open -= 1
        return Reply(due, loop.time() - began - due, status, sound)

    async def closed(self, callers: int, seconds: float) -> list[Reply]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        replies: list[Reply] = []

        async def one() -> None:
            while (now := loop.time() - began) < seconds:
                replies.append(await self.ask(began, now))

        await asyncio.gather(*(one() for _ in range(callers)))
        return replies

    async def open(self, phases: list[Phase]) -> list[list[Reply]]:
        """One phase after the other, without a pause."""
        loop = asyncio.get_running_loop()
        asked: list[list[asyncio.Task[Reply]]] = []
        for phase in phases:
            began, tasks = loop.time(), []
            for number in range(int(phase.rate * phase.seconds)):
                due = number / phase.rate
                if (wait := began + due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                elif number % 20 == 0:
                    await asyncio.sleep(0)
                tasks.append(asyncio.create_task(self.ask(began, due)))
            asked.append(tasks)
        await asyncio.wait(asked[-1])  # to gather the others takes long enough to be seen in these
        return [list(await asyncio.gather(*tasks)) for tasks in asked]


async def calling() -> None:
    callers = Callers(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        wanted = json.loads(line)
        if "callers" in wanted:
            found = [await callers.closed(wanted["callers"], wanted["seconds"])]
        else:
            found = await callers.open([Phase(**phase) for phase in wanted["phases"]])
        print(json.dumps([[list(asdict(reply).values()) for reply in replies] for replies in found]), flush=True)


# --- The bench --------------------------------------------------------------------------------------------


class Generator:
    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def run(self, order: dict[str, Any]) -> list[list[Reply]]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._child.stdout.readline()
        if not line:
            raise RuntimeError("the callers ended")
        return [[Reply(*reply) for reply in replies] for replies in json.loads(line)]


async def filled(stack: Stack) -> tuple[list[tuple[str, str, str | None]], list[int]]:
    """Requirements to read and to find; what is asked for, and how often."""

    def requirement(number: int) -> dict[str, Any]:
        words = ("checkout", "payment", "login", "search", "basket")
        title = f"The {words[number % 5]} answers within {100 + number} ms"
        return {"title": title, "description": f"Number {number}: it is slow after a deploy", "service": "shop"}

    headers = {"Authorization": f"Bearer {stack.token('editor', 'viewer', teams=['shop'])}"}
    async with httpx.AsyncClient(
        base_url=stack.urls["gateway"], headers=headers, timeout=60, trust_env=False
    ) as client:
        ids = []
        for number in range(REQUIREMENTS):
            reply = await client.post("/api/v1/requirements", json=requirement(number) | {"owner_team": "shop"})
            ids.append(reply.raise_for_status().json()["id"])
        async with asyncio.timeout(60):
            while (await client.get("/api/v1/search", params={"q": "checkout"})).json()["total"] == 0:
                await asyncio.sleep(0.2)
    body = json.dumps(requirement(1) | {"owner_team": "shop"})
    kinds: list[tuple[tuple[str, str, str | None], int]] = [
        (("GET", "/api/v1/requirements?limit=20", None), 24),
        (("GET", "/api/v1/search?q=slow+payment&limit=10", None), 8),
        (("GET", "/api/v1/search?q=checkout+after+a+deploy&limit=10", None), 8),
        (("GET", "/api/v1/anomalies?limit=20", None), 10),
        (("GET", "/api/v1/incidents?limit=20", None), 10),
        (("GET", "/api/v1/signals?limit=20", None), 10),
        (("POST", "/api/v1/requirements", body), 10),
        *((("GET", f"/api/v1/requirements/{id}", None), 2) for id in ids[:10]),
    ]
    return [kind for kind, _ in kinds], [weight for _, weight in kinds]


def memory_mb(without: int) -> float:
    """Of all processes of the stack; what they share counts once: PostgreSQL's buffers are in each of its own."""
    return harness.total(lambda child: 0 if child.pid == without else child.memory_full_info().pss) / 1e6


async def most_memory(without: int, most: list[float]) -> None:
    while True:
        most.append(memory_mb(without))
        await asyncio.sleep(0.5)


def p99(replies: list[Reply]) -> float:
    """In ms."""
    ordered = sorted(reply.seconds for reply in replies)
    return 1000 * ordered[int(0.99 * len(ordered))] if ordered else float("inf")


def accepted(replies: list[Reply]) -> list[Reply]:
    return [reply for reply in replies if 200 <= reply.status < 300]


def recovery(replies: list[Reply], usual_ms: float) -> float:
    """The second from which on all is as before: at most one in a hundred is refused or takes twice the usual p99."""
    bad = Counter(
        int(reply.due) for reply in replies if not 200 <= reply.status < 300 or 1000 * reply.seconds > 2 * usual_ms
    )
    asked = Counter(int(reply.due) for reply in replies)
    for second in range(CALM_SECONDS):
        left = range(second, CALM_SECONDS)
        if sum(bad[each] for each in left) <= 0.01 * sum(asked[each] for each in left):
            return float(second)
    return float(CALM_SECONDS)


async def measure() -> None:
    async with harness.suite(otlp_interval=15, niceness=5, traced_percent=1, concurrent_requests=4) as stack:
        requests, weights = await filled(stack)
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "calls", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=2**30,
        )  # fmt: skip
        tokens = [stack.token("editor", "viewer", teams=["shop"], subject=f"u{n}") for n in range(SUBJECTS)]
        assert child.stdin is not None
        given = {"port": stack.ports["gateway"], "tokens": tokens, "requests": requests, "weights": weights}
        child.stdin.write(json.dumps(given).encode() + b"\n")
        try:
            await figures(Generator(child), child.pid)
        finally:
            child.kill()
            await child.wait()


async def figures(generator: Generator, pid: int) -> None:
    await generator.run({"callers": 8, "seconds": 5})
    harness.say("what can be sustained")
    (closed,) = await generator.run({"callers": 8, "seconds": 10})
    sustainable = len(accepted(closed)) / 10
    harness.say(f"{sustainable:.0f} requests a second")
    calm, much = Phase(sustainable / 2, CALM_SECONDS), Phase(TIMES * sustainable, LOAD_SECONDS)
    before, peaks, rounds = memory_mb(pid), [], []
    for number in (1, 2):
        harness.say(f"round {number} of 2: {much.rate:.0f} requests a second")
        most: list[float] = []
        watching = asyncio.create_task(most_memory(pid, most))
        rounds.append(await generator.run({"phases": [asdict(calm), asdict(much), asdict(calm)]}))
        watching.cancel()
        peaks.append(max(most))
    loaded = [reply for each in rounds for reply in each[1]]
    usual = max(p99(accepted(each[0])) for each in rounds)
    taken = accepted(loaded)
    said = Counter(reply.status for reply in loaded)
    unsound = sum(not reply.sound or (reply.status not in (429, 503) and reply.status >= 500) for reply in loaded)
    rate = len(taken) / (2 * LOAD_SECONDS)
    context = f"{TIMES} times {sustainable:.0f}/s, of which {rate:.0f}/s were accepted; by status {dict(said)}"
    latency = p99(taken)
    harness.row(
        "overload", "accepted_p99_ms", latency, "ms", against=f"{usual:.0f} ms at half of what can be sustained",
        ratio=latency / usual, bar=MOST_MS, ok=latency <= MOST_MS,
    )  # fmt: skip
    refused = said[429] + said[503]
    harness.row(
        "overload", "shed_ratio", refused / len(loaded), "of all", against=context,
        ok=refused > 0 and unsound == 0,
    )  # fmt: skip
    harness.row(
        "overload",
        "unsound_answers",
        unsound,
        "answers",
        against="no answer, a fault, no Retry-After",
        bar=0,
        ok=unsound == 0,
    )
    back = max(recovery(each[2], usual) for each in rounds)
    harness.row(
        "overload", "recovery_s", back, "s", against=f"one in a hundred over twice the {usual:.0f} ms of before",
        bar=RECOVERED_SECONDS, ok=back <= RECOVERED_SECONDS,
    )  # fmt: skip
    grown = peaks[1] - peaks[0]
    harness.row(
        "overload", "rss_growth_mb", peaks[0] - before, "MB",
        against=f"{before:.0f} MB before; the second round took {grown:.0f} MB more, on {os.cpu_count()} CPUs",
        bar=GROWTH_MB, ok=grown <= GROWTH_MB,
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(calling() if sys.argv[1:] == ["calls"] else measure())
