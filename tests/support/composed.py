"""The stack of docker-compose.yml under a name and with secrets of its own, as the journeys use the embedded one."""

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from plumbline_stack import compose, ports
from plumbline_stack.credentials import Credentials
from plumbline_stack.keys import Issuer

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "tests/containers/e2e.yaml")
SETTINGS = {
    "ENVIRONMENT": "development",
    "STATS_INTERVAL": "2s",
    "METRIC_INTERVAL_MS": "2000",
    # All calls come from one address, most with one subject.
    **{f"{of}RATE_LIMIT_PER_SECOND": "2000" for of in ("", "SUBJECT_", "ADDRESS_")},
    **{f"{of}RATE_LIMIT_BURST": "4000" for of in ("", "SUBJECT_", "ADDRESS_")},
    "CONCURRENT_REQUESTS": "512",
}
START_SECONDS = 420


@dataclass(frozen=True)
class Composed:
    """A running one; `folder` holds its secrets, and those that its sources and hooks name."""

    folder: Path
    ports: dict[str, int]

    @property
    def urls(self) -> dict[str, str]:
        return {"gateway": f"http://127.0.0.1:{self.ports['gateway']}"}

    @property
    def fault_header(self) -> dict[str, str]:
        return {"x-plumbline-fault": Credentials(self.folder / "secrets").get("fault")}

    def token(self, *roles: str, teams: Iterable[str] = (), subject: str = "alice", expires_in: float = 3600) -> str:
        return Issuer(self.folder / "secrets").token(*roles, teams=teams, subject=subject, expires_in=expires_in)

    def nats_url(self, user: str) -> str:
        secret = Credentials(self.folder / "secrets").get(f"nats-{user}")
        return f"nats://{user}:{secret}@127.0.0.1:{self.ports['nats']}"


@contextlib.asynccontextmanager
async def composed(folder: Path) -> AsyncIterator[Composed]:
    """Up with `docker compose up --wait`, and down with its volumes in the end. The images are there already.

    COMPOSE is the command where it is not `docker compose`, COMPOSE_OVERRIDES further files, separated by colons.
    """
    compose.secrets(folder / "secrets")
    (folder / "source-secrets").mkdir()
    (folder / "source-secrets" / "e2e-hook").write_text("hook-of-e2e\n")
    chosen = {"gateway": ports.choose(), "nats": ports.choose()}
    environment = {
        **SETTINGS,
        "SECRETS": str(folder / "secrets"),
        "SOURCE_SECRETS": str(folder / "source-secrets"),
        "GATEWAY_PORT": str(chosen["gateway"]),
        "NATS_PORT": str(chosen["nats"]),
    }
    try:
        await _compose(environment, "up", "--wait", "--no-build", "--wait-timeout", str(START_SECONDS))
        yield Composed(folder, chosen)
    except BaseException:
        await _compose(environment, "logs", "--tail", "30", "--no-color")
        raise
    finally:
        await _compose(environment, "down", "--volumes", "--timeout", "20")


async def _compose(environment: dict[str, str], *arguments: str) -> None:
    files = [*FILES, *(name for name in os.environ.get("COMPOSE_OVERRIDES", "").split(":") if name)]
    command = [*shlex.split(os.environ.get("COMPOSE", "docker compose")), "--project-name", "plumbline-e2e"]
    command += [part for name in files for part in ("--file", name)]
    # What a deployment beside it is told by .env does not count here.
    command += ["--env-file", os.devnull, *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=os.environ | environment)
    if code := await process.wait():
        raise RuntimeError(f"{' '.join(arguments)}: exit code {code}")
