"""PostgreSQL of a stack without the rest of it: for what must not run beside the services, such as a restore."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from plumbline_stack import ports
from plumbline_stack.credentials import Credentials
from plumbline_stack.nats import NatsServer
from plumbline_stack.orphans import end_orphans
from plumbline_stack.postgres import PostgresServer
from plumbline_stack.state import locked, read_state

_START_SECONDS, _STOP_SECONDS = 180, 30


@contextlib.asynccontextmanager
async def postgres_alone(folder: Path) -> AsyncIterator[PostgresServer]:
    """The server on the data of the stack in `folder` (an absolute path), both made where there are none, with
    roles, schemas and extensions.

    Raises AlreadyRunning where a stack runs there, NotReady where the server does not come up.
    """
    with locked(folder):
        await end_orphans(read_state(folder))
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
        server = PostgresServer(folder, ports.choose(), Credentials(folder / "secrets"))
        async with server.running(folder / "logs" / "postgres.log", _START_SECONDS, _STOP_SECONDS):
            yield server


def forget_events(folder: Path) -> None:
    """Deletes JetStream's store, which the outbox logs fill again. For who has the folder to themselves."""
    if (folder / "nats").exists():
        NatsServer(folder, 0, 0, Credentials(folder / "secrets")).wipe()
