"""The secrets of `docker-compose.yml`: `python -m plumbline_stack.compose FOLDER` makes those that are missing.

Passwords and the key that signs tokens stay as they are. What follows from them is written anew each time: the
addresses, the users of NATS with what each may do, and the token that telemetry is sent with, which lives for a year.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from plumbline_stack.credentials import Credentials, write_private
from plumbline_stack.keys import Issuer
from plumbline_stack.layout import SERVICES, deployment_file, owner
from plumbline_stack.nats import USERS, passwords
from plumbline_stack.postgres import ADMIN, DATABASE

POSTGRES = "postgres:5432"
NATS = "nats:4222"
_YEAR = 365 * 86_400.0


def secrets(folder: Path) -> None:
    """Nobody but the owner comes into the folder; what is mounted of it may be read by any user of a container."""
    credentials, issuer = Credentials(folder), Issuer(folder)
    kept = ["fault", *(f"postgres-{role}" for role in (ADMIN, *SERVICES, *map(owner, SERVICES)))]
    for name in kept:
        credentials.get(name)
    written = {
        **_addresses(credentials),
        # Not the issuer's own file, which whoever makes a token writes anew for its owner alone.
        "public-keys.json": issuer.jwks,
        "nats-users.conf": _nats_users(credentials),
        "ingest-token": issuer.token("ingest", subject="plumbline-collector", expires_in=_YEAR),
    }
    for name, content in written.items():
        write_private(folder / name, content.encode())
    for name in (*kept, *written):
        (folder / name).chmod(0o644)


def _addresses(credentials: Credentials) -> Mapping[str, str]:
    found = {}
    for name in SERVICES:
        for role, which in ((name, "database-url"), (owner(name), "owner-database-url")):
            password = credentials.get(f"postgres-{role}")
            found[f"{name}-{which}"] = f"postgresql+asyncpg://{role}:{password}@{POSTGRES}/{DATABASE}"
        found[f"{name}-nats-url"] = f"nats://{name}:{credentials.get(f'nats-{name}')}@{NATS}"
    return found


def _nats_users(credentials: Credentials) -> str:
    """The users of every deployment, below the variables that their passwords are named by."""
    variables = "".join(f"{name}: {password}\n" for name, password in passwords(credentials).items())
    return f"{variables}\n{deployment_file(USERS).read_text()}"


if __name__ == "__main__":
    secrets(Path(sys.argv[1]))
