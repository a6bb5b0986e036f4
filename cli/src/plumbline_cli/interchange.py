"""`plumbline requirements export|import`: requirements as files of other tools."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from plumbline_cli import diffs, files, shell
from plumbline_cli.requirements import PATH, Priority, Reason, Status, Type, app
from plumbline_cli.shell import Caller, Code, calling, console, errors, fail

_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "reqif": "application/reqif+xml",
}
_SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".reqif": "reqif",
    ".xml": "reqif",
    ".md": "markdown",
    ".html": "html",
}
_BLOCK = 256 * 1024


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def export(
    caller: Caller,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; default: standard output")] = None,
    format: Annotated[
        Literal["csv", "json", "ndjson", "reqif", "markdown", "html"] | None,
        typer.Option("--format", "-f", help="By the file's suffix where it is left out, else csv"),
    ] = None,
    q: Annotated[str | None, typer.Option("--q", "-q", help="Beginnings of words of the title, or a key")] = None,
    status: Annotated[Status | None, typer.Option()] = None,
    type: Annotated[Type | None, typer.Option()] = None,
    priority: Annotated[Priority | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option()] = None,
    owner_team: Annotated[str | None, typer.Option()] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME or NAME=VALUE; repeatable: all must match")] = None,
) -> None:
    """Write requirements as CSV, JSON or ReqIF, or as a report in Markdown or HTML."""
    form = format or _SUFFIXES.get(out.suffix.lower() if out else "", "csv")
    given = {"q": q, "status": status, "type": type, "priority": priority, "service": service,
             "owner_team": owner_team, "label": label}  # fmt: skip
    query = {"format": form} | {name: value for name, value in given.items() if value}
    ends = {"json": "]", "reqif": "</REQ-IF>", "html": "</html>"}
    files.download(caller, f"{PATH}/export", query, out, lambda last: last.startswith(ends.get(form, "")))


@app.command("import", epilog=shell.EXIT_CODES)
@calling("editor")
def import_(
    caller: Caller,
    file: Annotated[Path, typer.Argument(help="CSV, JSON, lines of JSON or ReqIF", exists=True, dir_okay=False)],
    format: Annotated[
        Literal["csv", "json", "ndjson", "reqif"] | None,
        typer.Option("--format", "-f", help="By the file's suffix where it is left out"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change")] = False,
    reason: Reason = "",
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print")] = "text",
) -> None:
    """Take a file of requirements in: all of it, or nothing where one is wrong.

    A record with the id (else the key) of a requirement changes it, as a new draft; others make new requirements.
    """
    form = format or _SUFFIXES.get(file.suffix.lower(), "")
    if form not in _TYPES:
        fail(f"{file}: say what it is with --format", Code.USAGE)
    done = asyncio.run(_import(caller, file, _TYPES[form], {"dry_run": dry_run, "reason": reason}, output))
    if output == "json":
        typer.echo(json.dumps(done))
    else:
        counts = ", ".join(f"{done[name]} {name}" for name in ("created", "updated", "unchanged"))
        links = done["links"]
        if any(links.values()):
            said = ", ".join(
                f"{links[name]} {name.replace('_', ' ')}" for name in ("created", "unchanged", "passed_over")
            )
            counts += f"; links: {said}"
        ending = "" if done["written"] else "; nothing was written"
        console.print(f"{counts}{ending}{' (dry run)' if dry_run else ''}")
    if done["faults"]:
        errors.print(shell.many(done["faults"], "fault"))
        raise typer.Exit(Code.USAGE)


async def _import(caller: Caller, file: Path, media: str, query: dict[str, Any], output: str) -> dict[str, Any]:
    done: dict[str, Any] | None = None
    shown = Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=_console(output))
    with shown:
        task = shown.add_task("sends")
        async with caller.gateway() as gateway:
            lines = gateway.lines(
                f"{PATH}/import",
                "POST",
                params=query,
                content=_blocks(file),
                headers={"Content-Type": media},
            )
            async for line in lines:
                said = json.loads(line)
                if progress := said.get("progress"):
                    ((stage, count),) = progress.items()
                    shown.update(task, description=f"{stage} {count:,}")
                elif fault := said.get("fault"):
                    _tell_fault(file, fault)
                elif (change := said.get("change")) and output == "text":
                    _tell_change(change)
                done = said.get("done", done)
    if done is None:
        fail("the answer broke off: look whether it was written before you try again")
    return done


def _console(output: str) -> Console:
    return errors if output == "json" or not console.is_terminal else console


async def _blocks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while block := await asyncio.to_thread(opened.read, _BLOCK):
            yield block


def _tell_fault(file: Path, fault: dict[str, Any]) -> None:
    line = f"{file}:{fault['line']}: "
    said = f"{fault['pointer'] or '/'} {fault['detail']}"
    errors.print(Text.assemble(diffs.plain(line), ("error", "bold red"), ": ", diffs.plain(said)), soft_wrap=True)


def _tell_change(change: dict[str, Any]) -> None:
    if change["action"] == "created":
        console.print(Text(diffs.plain(f"+ {change['title']}"), style="green"), soft_wrap=True)
        return
    members = Counter(each["pointer"].split("/")[1] for each in change["differences"])
    console.print(Text(diffs.plain(f"~ {change['key']}: {', '.join(members)}"), style="yellow"), soft_wrap=True)
