"""A server of the query API on its bad days."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

Behaviour = Callable[["BadDays", asyncio.StreamWriter, dict[str, str]], Awaitable[None]]


def answer(
    body: bytes, status: str = "200 OK", kind: str = "application/json", packed: bool = False, **headers: str
) -> Behaviour:
    """What is answered; `retry_after` becomes Retry-After."""
    body = gzip.compress(body) if packed else body

    async def behave(server: "BadDays", writer: asyncio.StreamWriter, form: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += ["Content-Encoding: gzip"] if packed else []
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return behave


def matrix(*series: tuple[dict[str, str], list[Any]], **members: Any) -> bytes:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}} | members).encode()


async def good(server: "BadDays", writer: asyncio.StreamWriter, form: dict[str, str]) -> None:
    """Each point of the grid, its value the number of the step."""
    start, end, step = (int(form[name]) for name in ("start", "end", "step"))
    values = [[time, str(time // step)] for time in range(start, end + 1, step)]
    await answer(matrix(({"__name__": "orders", "job": "shop", "instance": "a:80"}, values)))(server, writer, form)


async def stall(server: "BadDays", writer: asyncio.StreamWriter, form: dict[str, str]) -> None:
    await server.stopping.wait()


async def trickle(server: "BadDays", writer: asyncio.StreamWriter, form: dict[str, str]) -> None:
    """A byte at a time, faster than a deadline for each read would notice."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
    while not server.stopping.is_set():
        writer.write(b" ")
        await asyncio.sleep(0.02)


async def half(server: "BadDays", writer: asyncio.StreamWriter, form: dict[str, str]) -> None:
    body = matrix(({"job": "shop"}, [[1, "1"]]))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[: len(body) // 2])


class BadDays:
    """`behave` answers by the query's text, then by `behaviour`. `asked` are the forms that came, in their order."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.headers: list[str] = []
        self.behaviour: Behaviour = good
        self.behaviours: dict[str, Behaviour] = {}
        self.once: list[Behaviour] = []
        """The next requests are answered so."""
        self.stopping = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line)
            form = {name: values[0] for name, values in parse_qs((await reader.readexactly(length)).decode()).items()}
            self.asked.append(form)
            self.headers.append(head)
            behaviour = self.once.pop(0) if self.once else self.behaviours.get(form["query"], self.behaviour)
            await behaviour(self, writer, form)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[BadDays]:
    fake = BadDays()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    fake.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    fake.stopping.set()
    server.close()
    await server.wait_closed()
