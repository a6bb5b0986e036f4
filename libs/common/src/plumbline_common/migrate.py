"""Alembic for one service: `python -m plumbline_common.migrate plumbline_<name>`.

The migrations lie in the service's package, so that what runs them and what checks them is what is installed. They
run as the role that owns the schema; the service runs as another, which bears the schema's name.
"""

import argparse
import asyncio
import logging
import ssl
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic_settings import SettingsConfigDict
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from plumbline_common import db
from plumbline_common.settings import DATABASE_URL, MigrationSettings

log = logging.getLogger(__name__)

# Any constant will do: it keeps two migrations of one database apart. ("plumb" in ASCII)
_LOCK = 0x706C756D62

_NOT_OWNED = text(
    "SELECT format('%I may not make tables in the schema %I', current_user, current_schema())"
    " WHERE NOT has_schema_privilege(current_schema(), 'CREATE')"
)
# The service may write every row but the one that says how far the schema is.
_KEEP_REVISION = text(
    """
DO $$ DECLARE service name := current_schema(); BEGIN
  IF service <> current_user AND EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM %I', service);
  END IF;
END $$"""
)

_PARTITIONS = text(
    "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
    "WHERE c.relnamespace = current_schema()::regnamespace"
)


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(files(package))) / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def run(metadata: MetaData) -> None:
    """What each `migrations/env.py` calls."""
    connection: Connection = context.config.attributes["connection"]
    partitions = set(connection.scalars(_PARTITIONS))
    connection.commit()  # the transactions are Alembic's, so that a migration may end one: `autocommit_block`

    def ours(thing: Any, name: str | None, kind: str, reflected: bool, twin: Any) -> bool:
        table = name if kind == "table" else getattr(getattr(thing, "table", None), "name", None)
        return not (reflected and table in partitions)

    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=ours,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def upgrade(package: str, url: str, *, to: str = "head", tls: ssl.SSLContext | None = None) -> None:
    """Bring the service's schema to `to`. Safe when several start at once: one does it, the others wait.

    A schema of a later release than this one's is left as it is: migrations only expand, so that a rollback works.
    Raises `PermissionError` where the role of `url` may not change the schema.
    """

    def act(config: Config) -> None:
        connection: Connection = config.attributes["connection"]
        if refusal := connection.scalar(_NOT_OWNED):
            raise PermissionError(f"{refusal}; migrations run as the role that owns it")
        found = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        newest = db.newest_migration(package)
        if found is not None and found > newest:
            log.warning("the schema is at %s, later than this release's %s: it stays there", found, newest)
            return
        command.upgrade(config, to)
        connection.execute(_KEEP_REVISION)

    await _locked(url, act, package, tls)


async def check(package: str, url: str, *, tls: ssl.SSLContext | None = None) -> None:
    """Raise `alembic.util.CommandError` where the models say other than the migrated schema."""
    await _locked(url, command.check, package, tls)


async def _locked(url: str, act: Any, package: str, tls: ssl.SSLContext | None) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool, connect_args={"ssl": tls} if tls else {})
    config = _config(package)

    def with_connection(connection: Connection) -> None:
        config.attributes["connection"] = connection
        act(config)

    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            # A migration that waits for a busy table must not make every query behind it wait too.
            await connection.execute(text("SET lock_timeout = '10s'"))
            await connection.commit()
            await connection.run_sync(with_connection)
            await connection.commit()
    finally:
        await engine.dispose()


def settings_of(package: str) -> MigrationSettings:
    """How the owner of the service's schema reaches it. Raises `SystemExit` where the environment does not tell."""

    class Settings(MigrationSettings):
        model_config = SettingsConfigDict(env_prefix=f"{package.upper()}_")

    settings = Settings.from_environment()
    if not (settings.owner_database_url or settings.database_url):
        variable = Settings.variable("owner_database_url")
        example = DATABASE_URL.replace("role", f"{package.removeprefix('plumbline_')}_owner")
        sys.exit(f"{variable} is not set; for example {variable}={example}")
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plumbline_common.migrate", description=__doc__)
    parser.add_argument("package", help="for example plumbline_requirements")
    parser.add_argument("--check", action="store_true", help="fail where models and migrations differ")
    parser.add_argument("--revision", metavar="MESSAGE", help="write a new migration from the difference")
    arguments = parser.parse_args()
    settings = settings_of(arguments.package)
    url, tls = str(settings.owner_database_url or settings.database_url), settings.database_context
    if arguments.revision:
        number = f"{len(list(ScriptDirectory.from_config(_config(arguments.package)).walk_revisions())) + 1:04d}"
        asyncio.run(
            _locked(
                url,
                lambda config: command.revision(config, arguments.revision, autogenerate=True, rev_id=number),
                arguments.package,
                tls,
            )
        )
    elif arguments.check:
        asyncio.run(check(arguments.package, url, tls=tls))
    else:
        try:
            asyncio.run(upgrade(arguments.package, url, tls=tls))
        except PermissionError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
