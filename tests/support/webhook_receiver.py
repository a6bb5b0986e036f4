"""A receiver of webhooks that fails in all the ways that receivers do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

Behaviour = Callable[["Receiver", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Message:
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: str = "204 No Content", body: bytes = b"", **headers: str) -> Behaviour:
    """What is answered; `retry_after` becomes Retry-After."""

    async def behave(receiver: "Receiver", writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return behave


async def stall(receiver: "Receiver", writer: asyncio.StreamWriter) -> None:
    await receiver.stopping.wait()


async def half(receiver: "Receiver", writer: asyncio.StreamWriter) -> None:
    """It goes in the middle of its answer's head."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")


async def cut(receiver: "Receiver", writer: asyncio.StreamWriter) -> None:
    """It goes in the middle of its answer's body."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nthank")


async def endless(receiver: "Receiver", writer: asyncio.StreamWriter) -> None:
    """A refusal without an end."""
    writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 999999999\r\n\r\n")
    while not receiver.stopping.is_set() and not writer.is_closing():
        writer.write(b"so sorry " * 1000)
        await writer.drain()


class Receiver:
    """`once` are the behaviours of the next messages, `by_path` those of a path; all others are taken."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.once: list[Behaviour] = []
        self.by_path: dict[str, Behaviour] = {}
        self.usual: Behaviour = answer()
        self.stopping = asyncio.Event()
        self.url = ""

    def of(self, path: str) -> list[Message]:
        return [each for each in self.messages if each.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = first.split()[1]
            self.messages.append(Message(path, headers, body))
            behave = self.by_path.get(path) or (self.once.pop(0) if self.once else self.usual)
            await behave(self, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        receiver.stopping.set()
        server.close()
        await server.wait_closed()
