"""Taking a backup: all schemas of one moment, while the services go on writing."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import asyncpg

from plumbline_cli.backups import contents, manifest
from plumbline_cli.backups.contents import Contents
from plumbline_cli.backups.manifest import Dump, Manifest
from plumbline_cli.backups.postgres import Access, Failed, dump

Report = Callable[[str, str], None]
"""Takes a service and what is being done with it, or was."""


def silent(service: str, said: str) -> None:
    pass


@dataclass(frozen=True)
class _Moment:
    """One snapshot that all connections, by service, look at."""

    snapshot: str
    at: datetime
    server: str
    connections: dict[str, asyncpg.Connection]


async def take(accesses: Sequence[Access], place: Path, report: Report = silent) -> tuple[Path, Manifest]:
    """A new folder below `place`, named by the moment that it is of. Raises Failed.

    A fault of an audit log is kept in the manifest and stops nothing: such a database needs its backup most.
    """
    try:
        async with _moment(accesses) as moment:
            folder = place / f"plumbline-{moment.at:%Y%m%dT%H%M%SZ}"
            with _published(folder) as unfinished:
                made = await _write(accesses, moment, unfinished, report)
    except OSError as error:
        raise Failed(f"{error.filename or place} cannot be written: {error.strerror or error}") from None
    return folder, made


@contextlib.contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """A folder under another name, which becomes `folder` when the block ends well and is gone when it does not."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.exists():
        raise Failed(f"{folder} is there already: try again in a second")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
        manifest.publish(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.asynccontextmanager
async def _moment(accesses: Sequence[Access]) -> AsyncIterator[_Moment]:
    async with contextlib.AsyncExitStack() as entering:
        connections = {each.service: await entering.enter_async_context(each.connected()) for each in accesses}
        for connection in connections.values():
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        first, *others = connections.items()
        snapshot = await first[1].fetchval("SELECT pg_export_snapshot()")
        for service, connection in others:
            try:
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            except asyncpg.PostgresError as error:
                raise Failed(
                    f"{service} is not in the database of {first[0]} ({error}): one moment of all needs one database;"
                    " back up databases that are apart by their own tools"
                ) from None
        at = await first[1].fetchval("SELECT now()")
        server = await first[1].fetchval("SHOW server_version")
        yield _Moment(snapshot, at.astimezone(UTC), server, connections)


async def _write(accesses: Sequence[Access], moment: _Moment, folder: Path, report: Report) -> Manifest:
    async def one(access: Access) -> Dump:
        file = folder / f"{access.service}.dump"
        connection = moment.connections[access.service]
        async with asyncio.TaskGroup() as group:
            dumping = group.create_task(dump(access, moment.snapshot, file))
            reading = group.create_task(contents.read(connection, access.service))
            watching = asyncio.create_task(_watch(access.service, file, report))
            dumping.add_done_callback(lambda _: watching.cancel())
        digest = await asyncio.to_thread(manifest.sha256, file)
        await asyncio.to_thread(manifest.sync, file)
        found: Contents = reading.result()
        report(access.service, f"{found.rows:,} rows, {_size(file):,} bytes")
        return Dump(file.name, _size(file), digest, found)

    try:
        async with asyncio.TaskGroup() as group:
            dumps = {access.service: group.create_task(one(access)) for access in accesses}
    except BaseExceptionGroup as errors:
        first = _first(errors)
        if isinstance(first, asyncpg.PostgresError):
            raise Failed(f"a schema could not be read: {first}; try again") from None
        raise first from None
    made = Manifest(
        moment.at.isoformat().replace("+00:00", "Z"),
        version("plumbline-cli"),
        moment.server,
        {service: task.result() for service, task in dumps.items()},
    )
    manifest.write(folder, made)
    return made


async def _watch(service: str, file: Path, report: Report) -> None:
    while True:
        report(service, f"{_size(file):,} bytes …")
        await asyncio.sleep(0.5)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
