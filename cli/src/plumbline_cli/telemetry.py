"""`plumbline telemetry`: bring history in from files."""

import asyncio
import json
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.text import Text

from plumbline_cli import shell
from plumbline_cli.shell import Caller, Code, calling, console, errors, fail

app = typer.Typer(help="Bring history in.", epilog=shell.EXIT_CODES, no_args_is_help=True)

PATH = "/api/v1/telemetry/uploads"
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".json": "application/x-ndjson",
}
_CHUNK = 256 * 1024


class MetricKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


@app.callback()
def _group() -> None:
    """Bring history in."""


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def upload(
    caller: Caller,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="CSV, or JSON lines (.ndjson, .jsonl)")
    ],
    service: Annotated[str | None, typer.Option(help="service.name of the points that name none")] = None,
    metric: Annotated[str | None, typer.Option(help="Of the points that name none")] = None,
    unit: Annotated[str | None, typer.Option(help="In UCUM's notation: s, By, 1, {request}")] = None,
    kind: Annotated[MetricKind, typer.Option(help="A counter only grows, or begins anew")] = MetricKind.GAUGE,
    output: shell.Format = "table",
) -> None:
    """Store a file of points: `timestamp,value` with perhaps `service`, `metric` and further columns as attributes,
    or `timestamp` and a column a metric. What is there already is left as it is."""
    if (media_type := _MEDIA_TYPES.get(file.suffix.lower())) is None:
        fail(f"{file} is none of {', '.join(_MEDIA_TYPES)}", Code.USAGE)
    given = {"service": service, "metric": metric, "unit": unit, "kind": kind.value}
    query = {name: value for name, value in given.items() if value is not None}
    with file.open("rb") as source:
        last = asyncio.run(_upload(caller, source, file.stat().st_size, media_type, query, output))
    totals, unlisted = last["totals"], last.get("unlisted", 0)
    if unlisted:
        errors.print(f"… and {unlisted:,} more")
    if output != "table":
        shell.write(last, output)
    else:
        console.print(f"{shell.many(totals['stored'], 'point')} stored, {totals['refused']:,} refused")
    if problem := last.get("problem"):
        fail(f"{problem['detail']}; what is stored stays, and the file may be sent again")
    if totals["refused"]:
        raise typer.Exit(Code.FAILED)


async def _upload(
    caller: Caller, source: IO[bytes], size: int, media_type: str, query: dict[str, str], output: str
) -> dict[str, Any]:
    """The last line of the answer; what is refused is told as it comes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    line: dict[str, Any] = {}
    with Progress(*columns, console=errors, transient=True, disable=output == "json") as shown:
        task = shown.add_task("sends", total=size)
        async with caller.gateway() as gateway:
            async for raw in gateway.lines(
                PATH,
                "POST",
                params=query,
                content=_chunks(source, shown, task),
                headers={"Content-Type": media_type},
            ):
                line = json.loads(raw)
                if "detail" in line and "line" in line:
                    told = f"line {line['line']}: {line['detail']}"
                    errors.print(Text.assemble(("✗ ", "bold red"), told), soft_wrap=True)
                elif "waiting" in line:
                    shown.update(task, description=f"waits {line['waiting']} s")
                elif "bytes" in line:
                    shown.update(task, description="stores", completed=line["bytes"])
    if "totals" not in line:
        raise shell.Told("the answer broke off; what is stored stays, and the file may be sent again")
    return line


async def _chunks(source: IO[bytes], shown: Progress, task: TaskID) -> AsyncIterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk
        shown.advance(task, len(chunk))
