"""Restoring a backup, and holding what stands there afterwards to the manifest."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from plumbline_cli.backups import contents
from plumbline_cli.backups.backup import Report, silent
from plumbline_cli.backups.contents import Contents
from plumbline_cli.backups.manifest import Manifest
from plumbline_cli.backups.postgres import Access, Failed, restore

_STATE = "SELECT has_schema_privilege($1, 'CREATE') AS owned, to_regtype('public.vector') IS NOT NULL AS extended"
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()"


async def refuse_unfit(accesses: Sequence[Access], *, replace: bool) -> None:
    """Raises Failed where a schema cannot be restored into, is in use, or holds rows and is not to be replaced."""
    for access in accesses:
        service = access.service
        async with access.connected() as connection:
            try:
                state = await connection.fetchrow(_STATE, service)
            except asyncpg.InvalidSchemaNameError:
                raise Failed(f"there is no schema {service}: run deploy/postgres/init.sql in this database") from None
            assert state is not None
            if not state["owned"]:
                raise Failed(f"{access.url.username} does not own the schema {service}: give the owner's address")
            if not state["extended"]:
                raise Failed("the extension vector is missing: run deploy/postgres/init.sql in this database")
            if sessions := await connection.fetchval(_SESSIONS, service):
                raise Failed(f"{service} has {sessions} sessions in this database: stop the services first")
            if replace:
                continue
            for table in await contents.tables(connection, service):
                holds = f"SELECT EXISTS (SELECT FROM {contents.quoted(service, table)})"  # noqa: S608 - quoted
                if table != "alembic_version" and await connection.fetchval(holds):
                    raise Failed(f"{service}.{table} holds rows: --replace gives up what is there now")


async def put_back(
    accesses: Sequence[Access], folder: Path, manifest: Manifest, report: Report = silent
) -> dict[str, Contents]:
    """What each schema holds afterwards. Raises Failed; each schema is then the backup's, or as it was."""

    async def one(access: Access) -> Contents:
        report(access.service, "restoring …")
        await restore(access, folder / manifest.dumps[access.service].file)
        report(access.service, "verifying …")
        found = await _verified(access)
        report(access.service, f"{found.rows:,} rows")
        return found

    # All come to their end: to cancel one would not tell what became of its schema.
    ended = await asyncio.gather(*map(one, accesses), return_exceptions=True)
    found: dict[str, Contents] = {}
    for access, result in zip(accesses, ended, strict=True):
        if isinstance(result, BaseException):
            raise result
        found[access.service] = result
    return found


async def _verified(access: Access) -> Contents:
    async with access.connected() as connection:
        for table in await contents.tables(connection, access.service):
            # The planner knows nothing of what was just restored.
            await connection.execute(f"ANALYZE {contents.quoted(access.service, table)}")
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return await contents.read(connection, access.service)


def faults(manifest: Manifest, found: dict[str, Contents]) -> list[str]:
    """What does not agree with the manifest, a sentence each."""
    return [
        f"{service}: {said}"
        for service, dump in manifest.dumps.items()
        for said in contents.differences(dump.contents, found[service])
    ]
