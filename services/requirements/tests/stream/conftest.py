"""A real server for the streams: an in-process client waits for the end of an answer, which never comes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from plumbline_stack import ports, processes

PATH = "/api/v1/events/stream"


@dataclass
class Event:
    """What a client got between two blank lines."""

    id: int | None = None
    name: str = ""
    data: Any = None
    retry: int | None = None
    comment: str = ""


@dataclass
class Reader:
    """One open stream; `events` are those with a name, `blocks` all."""

    response: httpx.Response
    blocks: list[Event] = field(default_factory=list)
    ended: bool = False
    whole: bool = False
    """Whether the server ended the answer, rather than the connection."""

    @property
    def events(self) -> list[Event]:
        return [block for block in self.blocks if block.name]

    @property
    def last_id(self) -> int:
        return next(block.id for block in reversed(self.blocks) if block.id is not None)

    async def read(self) -> None:
        try:
            await self._read()
            self.whole = True
        except httpx.HTTPError:
            pass
        finally:
            self.ended = True

    async def _read(self) -> None:
        block = Event()
        async for line in self.response.aiter_lines():
            if not line:
                self.blocks.append(block)
                block = Event()
                continue
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    block.id = int(value)
                case "event":
                    block.name = value
                case "data":
                    assert block.data is None, "the data stands on one line"
                    block.data = json.loads(value)
                case "retry":
                    block.retry = int(value)
                case "":
                    block.comment = value

    async def got(self, events: int, seconds: float = 15) -> list[Event]:
        """The first `events` of them, once they are there."""
        async with asyncio.timeout(seconds):
            while len(self.events) < events:
                await asyncio.sleep(0.02)
        return self.events[:events]

    async def end(self, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not self.ended:
                await asyncio.sleep(0.02)


class Server:
    """uvicorn in a process of its own, as the stack starts it. The port stays the same over a restart."""

    def __init__(self, app: FastAPI, log: Any) -> None:
        self.port = ports.choose()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        settings = app.state.settings
        own = {
            "DATABASE_URL": settings.database_url,
            "NATS_URL": settings.nats_url,
            "JWKS_URI": settings.jwks_uri,
            "STREAM_HEARTBEAT_SECONDS": "0.4",
            "STREAM_SEND_TIMEOUT_SECONDS": "3",
            "STREAM_LIMIT": "6",
            "STREAM_TAIL": "300",
        }
        self._environment = {f"PLUMBLINE_REQUIREMENTS_{name}": value for name, value in own.items()}
        self._process: Process | None = None

    async def start(self) -> None:
        argv = [sys.executable, "-m", "uvicorn", "plumbline_requirements.main:create_app", "--factory"]
        argv += ["--port", str(self.port), "--no-access-log", "--timeout-graceful-shutdown", "10"]
        self._process = await processes.start(processes.Command(argv, self._environment), self.log)
        await processes.until_ready(self._process, self._ready, 60)

    async def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        return False

    async def stop(self) -> int:
        """Ask it to stop, as the stack does. Returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def kill(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@pytest.fixture(scope="session")
async def server(app: FastAPI, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    server = Server(app, tmp_path_factory.mktemp("stream") / "uvicorn.log")
    await server.start()
    yield server
    await server.stop()


Follow = Callable[..., Any]


@pytest.fixture
async def follow(server: Server, issuer: Any) -> AsyncIterator[Follow]:
    """Opens a stream as a viewer and reads it: `follow(last_event_id=7, service="checkout")`."""
    tasks: list[asyncio.Task[None]] = []
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False))

        async def opened(last_event_id: Any = None, token: str | None = None, **query: Any) -> Reader:
            headers = {"Authorization": f"Bearer {token or issuer.token('viewer')}"}
            if last_event_id is not None:
                headers["Last-Event-ID"] = str(last_event_id)
            response = await stack.enter_async_context(client.stream("GET", PATH, headers=headers, params=query))
            response.raise_for_status()
            assert response.headers["content-type"].startswith("text/event-stream")
            reader = Reader(response)
            tasks.append(asyncio.create_task(reader.read()))
            async with asyncio.timeout(10):
                while not reader.blocks:
                    await asyncio.sleep(0.01)
            return reader

        yield opened
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def stalled(server: Server, issuer: Any) -> Any:
    """Opens a stream whose client reads nothing, on a small window. Returns the socket."""

    async def opened() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(made, ("127.0.0.1", server.port))
        head = f"GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {issuer.token('viewer')}\r\n\r\n"
        await loop.sock_sendall(made, head.encode())
        await loop.sock_recv(made, 10)
        return made

    return opened
