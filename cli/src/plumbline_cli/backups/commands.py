"""`plumbline backup` and `plumbline restore`."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.shell import HERE, Code, Folder, Told, console

if TYPE_CHECKING:
    from plumbline_cli.backups.backup import Report
    from plumbline_cli.backups.manifest import Manifest
    from plumbline_cli.backups.postgres import Access

app = typer.Typer()

SERVICES = ("requirements", "search", "analysis")
NEXT = "before the services start: delete JetStream's store, which the outbox logs fill again (docs/operations.md)"


@app.command(epilog=shell.EXIT_CODES)
def backup(
    place: Annotated[Path, typer.Argument(help="The folder in which the backup becomes a folder of its own")],
    folder: Folder = HERE,
    output: shell.Format = "table",
) -> None:
    """Back up the three schemas, all of one moment, while the services go on.

    The databases are those of PLUMBLINE_<SERVICE>_OWNER_DATABASE_URL where these are set, as for migrations; else the
    local stack's, whether it runs or not. Secrets are no part of it.
    """
    # Alembic and the drivers are too slow to load for every command.
    from plumbline_cli.backups.backup import take

    async def work(report: "Report") -> tuple[Path, "Manifest"]:
        async with _accesses(folder, alone=False) as accesses:
            return await take(accesses, place, report)

    folder, began = folder.absolute(), time.monotonic()
    with _telling(), _progress() as report:
        made, manifest = asyncio.run(work(report))
    if output == "table":
        console.print(_table(manifest))
        seconds = time.monotonic() - began
        console.print(f"[green]✓[/] {made} [dim]({seconds:.1f} s)[/]", soft_wrap=True, highlight=False)
    else:
        shell.write({"folder": str(made), "manifest": asdict(manifest)}, output)
    with _telling():
        for service, dump in manifest.dumps.items():
            if (audit := dump.contents.audit) is not None and audit.fault is not None:
                raise Told(f"the backup is whole, but the audit log of {service} is broken, {audit.fault}")


@app.command(epilog=shell.EXIT_CODES)
def restore(
    backup: Annotated[Path, typer.Argument(help="The folder of a backup")],
    replace: Annotated[bool, typer.Option("--replace", help="Give up what the schemas hold now")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Look at the backup's files only, and at no database")
    ] = False,
    folder: Folder = HERE,
    output: shell.Format = "table",
) -> None:
    """Restore a backup, and verify rows, revisions and the audit log against its manifest.

    The services must be stopped. The databases are found as by `plumbline backup`; the local stack's is started for
    it, and its JetStream store emptied. Each schema is replaced in one transaction.
    """
    from plumbline_cli.backups import manifest as backups
    from plumbline_cli.backups.restore import faults, put_back, refuse_unfit

    async def work(report: "Report") -> list[str]:
        async with _accesses(folder, alone=True) as accesses:
            await refuse_unfit(accesses, replace=replace)
            if not _told_by_environment():
                from plumbline_stack.alone import forget_events

                # Before the schemas: events that they do not know would be taken for theirs.
                forget_events(folder)
            return faults(manifest, await put_back(accesses, backup, manifest, report))

    folder, began = folder.absolute(), time.monotonic()
    with _telling(), _progress() as report:
        manifest = backups.read(backup)
        backups.check(backup, manifest)
        found = [] if check else asyncio.run(work(report))
    if output == "table":
        console.print(_table(manifest))
    else:
        shell.write({"manifest": asdict(manifest), "faults": found}, output)
    if found:
        for said in found:
            shell.errors.print(f"[bold red]✗[/] {said}", soft_wrap=True, highlight=False)
        raise typer.Exit(Code.FAILED)
    done = "the files are as they were written" if check else "restored, and as the manifest says"
    shell.errors.print(f"[green]✓[/] {done} [dim]({time.monotonic() - began:.1f} s)[/]")
    if not check and _told_by_environment():
        shell.errors.print(f"[yellow]![/] {NEXT}", soft_wrap=True)


def _told_by_environment() -> bool:
    names = [f"PLUMBLINE_{service.upper()}_OWNER_DATABASE_URL" for service in SERVICES]
    return any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in names)


@contextlib.asynccontextmanager
async def _accesses(folder: Path, *, alone: bool) -> AsyncIterator[Sequence["Access"]]:
    from sqlalchemy.engine import make_url

    from plumbline_cli.backups.postgres import Access
    from plumbline_common.migrate import settings_of

    if _told_by_environment():
        found = []
        for service in SERVICES:
            settings = settings_of(f"plumbline_{service}")
            found.append(
                Access(service, make_url(settings.owner_database_url or settings.database_url or ""), settings)
            )
        yield found
        return
    if not (folder / "postgres").exists() and not alone:
        raise Told(f"{folder} holds no stack, and PLUMBLINE_<SERVICE>_OWNER_DATABASE_URL are not set", Code.USAGE)
    async with shell.stack().database(folder, alone=alone) as urls:
        yield [Access(service, make_url(urls[service])) for service in SERVICES]


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    import asyncpg

    from plumbline_cli.backups.manifest import NoBackup
    from plumbline_cli.backups.postgres import Failed

    with shell.telling():
        try:
            yield
        except NoBackup as error:
            raise Told(str(error), Code.USAGE) from None
        except (Failed, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Told(str(error)) from None


@contextlib.contextmanager
def _progress() -> Iterator["Report"]:
    """A line for each service, on a terminal, while it lasts."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[service]}"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shell.errors, transient=True, disable=not shell.errors.is_terminal) as progress:
        tasks = {service: progress.add_task("…", total=None, service=service) for service in SERVICES}

        def report(service: str, said: str) -> None:
            progress.update(tasks[service], description=said)

        yield report


def _table(manifest: "Manifest") -> Table:
    title = f"of {manifest.taken_at}, by Plumbline {manifest.plumbline} from PostgreSQL {manifest.postgresql}"
    table = Table(title=title, title_justify="left")
    for column in ("schema", "revision", "tables", "rows", "bytes", "audit log"):
        table.add_column(
            column, justify="right" if column in ("tables", "rows", "bytes") else "left", overflow="fold"
        )
    for service, dump in manifest.dumps.items():
        holds, audit = dump.contents, dump.contents.audit
        head = f"{audit.position}:{audit.hash}" if audit is not None else ""
        figures = (f"{len(holds.tables)}", f"{holds.rows:,}", f"{dump.bytes:,}")
        table.add_row(service, holds.revision, *figures, head)
    return table
