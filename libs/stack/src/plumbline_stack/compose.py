"""The secrets of `docker-compose.yml`: `python -m plumbline_stack.compose FOLDER` makes those that are missing.

Passwords and the key that signs tokens stay as they are. What follows from them is written anew each time: the
addresses, the users of NATS with what each may do, and the token that telemetry is sent with, which lives for a year.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from plumbline_stack.credentials import Credentials, write_private
from plumbline_stack.keys import Issuer
from plumbline_stack.layout import SERVICES
from plumbline_stack.nats import authorization
from plumbline_stack.postgres import ADMIN, DATABASE

POSTGRES = "postgres:5432"
NATS = "nats:4222"
_YEAR = 365 * 86_400.0


def secrets(folder: Path) -> None:
    """Nobody but the owner comes into the folder; what is mounted of it may be read by any user of a container."""
    credentials, issuer = Credentials(folder), Issuer(folder)
    passwords = {
        name: credentials.get(name) for name in ("fault", *(f"postgres-{role}" for role in (ADMIN, *SERVICES)))
    }
    written = {
        **_addresses(credentials),
        # Not the issuer's own file, which whoever makes a token writes anew for its owner alone.
        "public-keys.json": issuer.jwks,
        "nats-users.conf": json.dumps(authorization(credentials), indent=2),
        "ingest-token": issuer.token("ingest", subject="plumbline-collector", expires_in=_YEAR),
    }
    for name, content in written.items():
        write_private(folder / name, content.encode())
    for name in (*passwords, *written):
        (folder / name).chmod(0o644)


def _addresses(credentials: Credentials) -> Mapping[str, str]:
    found = {}
    for name in SERVICES:
        password = credentials.get(f"postgres-{name}")
        found[f"{name}-database-url"] = f"postgresql+asyncpg://{name}:{password}@{POSTGRES}/{DATABASE}"
        found[f"{name}-nats-url"] = f"nats://{name}:{credentials.get(f'nats-{name}')}@{NATS}"
    return found


if __name__ == "__main__":
    secrets(Path(sys.argv[1]))
