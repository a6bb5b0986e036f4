"""PostgreSQL as the owner of a service's schema: connections, and PostgreSQL's own programs."""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL

from plumbline_common.settings import ConnectionSettings

_PIECE = 1 << 20
# Rows read as text look alike whatever the server or the role is set to; and nothing ends a long read.
_SESSION = {
    "application_name": "plumbline backup",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


class Failed(Exception):
    """What went wrong, and what to do about it, in a line."""


@dataclass(frozen=True)
class Access:
    """How the schema of `service` is reached as the role that owns it; `settings` tell of TLS."""

    service: str
    url: URL
    settings: ConnectionSettings | None = None

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """Raises Failed."""
        where = f"{self.url.host}:{self.url.port or 5432}"
        try:
            connection = await asyncpg.connect(
                host=self.url.host,
                port=self.url.port or 5432,
                user=self.url.username,
                password=self.url.password,
                database=self.url.database,
                ssl=self.settings.database_context if self.settings else None,
                timeout=15,
                server_settings=_SESSION,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            said = str(error) or type(error).__name__
            raise Failed(f"{self.service}: {self.url.username} cannot connect to {where}: {said}") from None
        try:
            yield connection
        finally:
            # A transaction that is still open ends with its connection.
            connection.terminate()

    def environment(self) -> dict[str, str]:
        """What libpq's programs are told, the password too: a command line may be read by others."""
        found = {
            "PGHOST": self.url.host,
            "PGPORT": str(self.url.port or 5432),
            "PGUSER": self.url.username,
            "PGPASSWORD": None if self.url.password is None else str(self.url.password),
            "PGDATABASE": self.url.database,
            "PGCONNECT_TIMEOUT": "15",
        }
        settings = self.settings
        if settings is not None and settings.database_tls:
            found |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(settings.tls_ca_file or "system")}
            if settings.tls_certificate_file is not None:
                found |= {"PGSSLCERT": str(settings.tls_certificate_file), "PGSSLKEY": str(settings.tls_key_file)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return inherited | {name: value for name, value in found.items() if value is not None}


def program(name: str) -> str:
    """pg_dump, pg_restore or psql: of the embedded stack where that is installed, else of PATH. Raises Failed."""
    with contextlib.suppress(ImportError):
        from plumbline_stack.postgres import program as server

        return str(server().with_name(name))
    found = shutil.which(name)
    if found is None:
        raise Failed(
            f"{name} is missing: install PostgreSQL's client programs, or plumbline-cli[stack], which has them"
        )
    return found


async def dump(access: Access, snapshot: str, file: Path) -> None:
    """The schema as `snapshot` sees it, into `file`, which its owner alone may read. Raises Failed."""
    arguments = ["--format=custom", "--compress=3", "--no-password", f"--schema={access.service}"]
    argv = [program("pg_dump"), *arguments, f"--snapshot={snapshot}", f"--file={file}"]
    async with _running(argv, access.environment(), stdin=DEVNULL, stdout=DEVNULL) as process:
        said = await _said(process)
        if await process.wait():
            raise Failed(f"{access.service}: pg_dump failed: {said}")


# The owner of a schema may not make one, so what it holds is dropped and the schema stays. The privileges that tables
# get by default are the dump's to give: with them here, a table would have more than it had.
_EMPTY = """
DO $do$ DECLARE drops text; BEGIN
  FOR drops IN
    SELECT format(
      'DROP %s IF EXISTS %I.%I CASCADE',
      CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
      nspname, relname)
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = '{schema}' AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relispartition
    ORDER BY relkind = 'S' -- a sequence of an identity goes with its table, and only so
  LOOP EXECUTE drops; END LOOP;
  FOR drops IN
    SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = '{schema}'
    UNION ALL SELECT format('DROP TYPE IF EXISTS %I.%I CASCADE', nspname, typname)
    FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = '{schema}' AND typtype IN ('e', 'd')
  LOOP EXECUTE drops; END LOOP;
END $do$;
ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema}" REVOKE ALL ON TABLES FROM "{schema}";
ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema}" REVOKE ALL ON SEQUENCES FROM "{schema}";
ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema}" REVOKE ALL ON FUNCTIONS FROM "{schema}";
"""


async def restore(access: Access, file: Path) -> None:
    """The schema as `file` has it, in place of what it holds, in one transaction. Raises Failed.

    psql is told to commit only when pg_restore has come to its end: what dies on the way leaves the schema as it was.
    """
    schema, environment = access.service, access.environment()
    reading = [program("pg_restore"), f"--schema={schema}", "--file=-", str(file)]
    writing = [program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    async with (
        _running(writing, environment | {"PGOPTIONS": "-c client_min_messages=warning"}, PIPE, DEVNULL) as psql,
        _running(reading, environment, DEVNULL, PIPE) as source,
    ):
        assert psql.stdin is not None
        assert source.stdout is not None
        complaints = asyncio.gather(_said(psql), _said(source))
        with contextlib.suppress(ConnectionError):  # psql ended before its time, and says why
            psql.stdin.write(b"BEGIN;\n" + _EMPTY.format(schema=schema).encode())
            while piece := await source.stdout.read(_PIECE):
                psql.stdin.write(piece)
                await psql.stdin.drain()
            if await source.wait() == 0:
                psql.stdin.write(b"COMMIT;\n")
            psql.stdin.close()
        code = await psql.wait()
        if source.returncode is None:
            source.kill()
        of_psql, of_source = await complaints
        if code or source.returncode:
            raise Failed(f"{schema}: it could not be restored and is as it was: {of_psql or of_source}")


@contextlib.asynccontextmanager
async def _running(
    argv: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int
) -> AsyncIterator[Process]:
    """Killed where it outlives the block."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=dict(environment), stdin=stdin, stdout=stdout, stderr=PIPE, umask=0o077
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()


async def _said(process: Process) -> str:
    """The first lines of its complaints, in one."""
    assert process.stderr is not None
    lines = (await process.stderr.read()).decode(errors="replace").split("\n")
    return "; ".join(line.strip() for line in lines if line.strip())[:600]
