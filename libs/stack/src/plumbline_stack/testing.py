"""pytest fixtures: one real PostgreSQL and one real NATS for a test session, and an issuer of tokens.

Load it from a root conftest.py: `pytest_plugins = ["plumbline_stack.testing"]`.
"""

import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from plumbline_stack import ports, processes
from plumbline_stack.credentials import Credentials
from plumbline_stack.keys import Issuer
from plumbline_stack.nats import NatsServer
from plumbline_stack.postgres import PostgresServer

_DEADLINE = 60.0


class RunningNats:
    """A NATS server that a test may stop, kill or rob of its store. The port stays the same."""

    def __init__(self, server: NatsServer, log: Path) -> None:
        self._server = server
        self._log = log
        self._process: Process | None = None

    def url(self, user: str) -> str:
        """For the user of a service."""
        return self._server.url(user)

    @property
    def admin_url(self) -> str:
        """For a user who may do everything."""
        return self._server.admin_url

    async def start(self) -> None:
        """Starts it where it doesn't run and returns when JetStream is ready."""
        if self._process is None or self._process.returncode is not None:
            self._process = await processes.start(self._server.command(), self._log)
        await processes.until_ready(self._process, self._server.ready, _DEADLINE)

    async def stop(self) -> None:
        """Asks it to stop and waits for that."""
        if self._process is not None:
            await processes.stop(self._process, self._server.command().stop_signal, 15)

    async def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer would. `start()` brings it back."""
        if self._process is not None:
            processes.kill_group(self._process.pid)
            await self._process.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def wipe_jetstream(self) -> None:
        """Stops it, deletes the whole JetStream store, starts it."""
        await self.stop()
        self._server.wipe()
        await self.start()


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder for the servers' state. Open to all, for under root PostgreSQL has an account of its own."""
    with tempfile.TemporaryDirectory(prefix="plumbline-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(stack_folder: Path) -> AsyncIterator[PostgresServer]:
    """A PostgreSQL with the suite's database, roles, schemas and extensions; without fsync."""
    server = PostgresServer(stack_folder, ports.choose(), Credentials(stack_folder / "secrets"), durable=False)
    async with server.running(stack_folder / "postgres.log", _DEADLINE, 15):
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(stack_folder: Path) -> AsyncIterator[RunningNats]:
    """A NATS server with JetStream and one user per service."""
    credentials = Credentials(stack_folder / "secrets")
    server = NatsServer(stack_folder, ports.choose(), ports.choose(), credentials)
    server.prepare()
    running = RunningNats(server, stack_folder / "nats.log")
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture(scope="session")
def issuer(stack_folder: Path) -> Issuer:
    """Signs tokens that services accept when given its `jwks_uri`, `issuer` and `audience`."""
    return Issuer(stack_folder / "secrets")
