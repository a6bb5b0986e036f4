"""`plumbline logs`: what the parts of the local stack have logged, and the templates of logs."""

import contextlib
import csv
import io
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from typer.core import TyperGroup

from plumbline_cli import draw, files, jobs, shell
from plumbline_cli.shell import HERE, Caller, Code, Folder, calling, console, errors, fail, many, stack, telling

if TYPE_CHECKING:
    from plumbline_analysis.logs.mining import Miner

BATCH = 4096
SHOWN = 30
"""Templates, and changes, in a table; JSON and YAML have more."""
PLACES = 24
LONGEST_LINE = 16 * 2**20
"""Bytes of a line that are read; what comes after them up to the line's end is left out."""
MESSAGES = ("body", "message", "msg")
"""Where a line is a JSON object, the first of these that it has is its message."""


class _ShownByDefault(TyperGroup):
    """`plumbline logs analysis` is `plumbline logs show analysis`, and `plumbline logs` is `plumbline logs show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", *ctx.help_option_names)):
            args = ["show", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


app = typer.Typer(cls=_ShownByDefault, help="The logs of the local stack, and the templates of logs.")


@app.command()
def show(
    service: Annotated[str | None, typer.Argument(help="requirements, search, analysis, gateway, …")] = None,
    folder: Folder = HERE,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1)] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
) -> None:
    """The last lines that one part of the stack, or each, has logged."""
    stack().logs(folder, service, lines, follow, console)


Sort = Literal["last_seen", "-last_seen", "first_seen", "-first_seen", "count", "-count"]


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def templates(
    caller: Caller,
    query: Annotated[str | None, typer.Argument(metavar="[PART]", help="A part of the template, in any case")] = None,
    service: Annotated[str | None, typer.Option()] = None,
    sort: Annotated[Sort, typer.Option(help="A minus puts the largest or newest first")] = "-last_seen",
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """The templates that were found in what the services have logged."""
    page = shell.pages(caller, "/api/v1/log-templates", skip, limit, all, q=query, service=service, sort=sort)
    if output != "table":
        shell.write(page, output)
        return
    table = Table("lines", "last seen", "service", "template", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    for each in page["items"]:
        table.add_row(
            f"{each['count']:,}",
            shell.moment(each["last_seen"]),
            shell.text(each["service"]),
            shell.text(each["template"]),
        )
    console.print(table)
    console.print(f"[dim]{len(page['items'])} of {page['total']:,}[/]")


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def mine(
    caller: Caller,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A log file, or - for standard input")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The CSV to write, or - for standard output")] = None,
    service: Annotated[str | None, typer.Option(help="Mine what this service has logged, on the server")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="RFC 3339; default: the first line that is kept")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; default: now")] = None,
    output: shell.Format = "table",
) -> None:
    """Find the templates of a log file, without a server: CSV with line, template_id and template.

    A line is a message, or a JSON object with the message in body, message or msg. Each line is given the template
    that it has after the last one. With --service instead of FILE, a worker mines what the service has logged: its
    templates with their lines over time, and what changed.
    """
    if (file is None) == (service is None):
        fail("name a FILE, or a --service", Code.USAGE)
    if file is None:
        given = {"service": service, "start": start, "end": end}
        return _mine_service(caller, {name: value for name, value in given.items() if value is not None}, output)
    if out is None:
        fail("name the CSV to write by --out", Code.USAGE)
    _mine_file(file, out)
    return None


def _mine_service(caller: Caller, body: dict[str, Any], output: shell.Output) -> None:
    asked = caller.ask(lambda gateway: gateway.post("/api/v1/log-templates/mining", body, str(uuid4()))).json()
    result = jobs.followed(caller, asked["id"])["result"]
    if output != "table":
        shell.write(result, output)
        return
    table = Table("lines", "over time", "template", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    for each in result["templates"][:SHOWN]:
        counts = draw.sparkline([{"value": count} for count in each["counts"]], PLACES)
        table.add_row(f"{each['count']:,}", counts, shell.text(each["template"]))
    console.print(table)
    changes = Table("when", "what", box=None, pad_edge=False, title="changes", title_justify="left")
    for each in result["changes"][:SHOWN]:
        changes.add_row(shell.moment(each["start"]), shell.text(each["sentence"]))
    if result["changes"]:
        console.print(changes)
    counted = f"{many(result['lines'], 'line')}, {many(result['templates_total'], 'template')}"
    errors.print(f"{counted}, {many(result['changes_total'], 'change')}; --output json has more")


def _mine_file(file: Path, out: Path) -> None:
    from plumbline_analysis.logs.mining import Miner

    if str(out) != "-" and not out.parent.is_dir():
        fail(f"{out.parent}: there is no such folder", Code.USAGE)
    miner = Miner()
    ids, known = array("q"), dict[int, str]()
    with telling(), contextlib.ExitStack() as opened:
        source = opened.enter_context(files.source(file))
        size = None if str(file) == "-" else file.stat().st_size
        for batch in _batches(source, size):
            ids.extend(miner.add(batch))
            _remember(miner, ids[-len(batch) :], known)
        with files.sink(out) as to:
            _write(to, miner, ids, known)
    errors.print(f"{many(len(ids), 'line')}, {many(len(miner), 'template')}")


def _batches(source: IO[bytes], size: int | None) -> Iterator[list[str | bytes]]:
    """The messages of a file, so many at a time; how far it is read is told on standard error."""
    columns = (TextColumn("mines"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as shown:
        task = shown.add_task("", total=size)
        batch: list[str | bytes] = []
        read = 0
        while line := source.readline(LONGEST_LINE):
            read += len(line)
            if not line.endswith(b"\n"):
                read += _rest(source)
            batch.append(message(line))
            if len(batch) == BATCH:
                yield batch
                batch = []
                shown.update(task, completed=read)
        if batch:
            yield batch


def _rest(source: IO[bytes]) -> int:
    """Leave out what is left of a line, and give its bytes."""
    left_out = 0
    while part := source.readline(LONGEST_LINE):
        left_out += len(part)
        if part.endswith(b"\n"):
            break
    return left_out


def message(line: bytes) -> str | bytes:
    """What a line says: itself, or its message where it is a JSON object that has one."""
    if line.lstrip()[:1] != b"{":
        return line
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    for name in MESSAGES if isinstance(entry, dict) else ():
        said = entry.get(name)
        if isinstance(said, dict):  # OTLP's AnyValue
            said = said.get("stringValue")
        if isinstance(said, str):
            return said
    return line


def _remember(miner: "Miner", ids: "array[int]", known: dict[int, str]) -> None:
    """Keep the texts of templates: the miner may forget them before the file is written."""
    for id in set(ids):
        if template := miner.template(id):
            known[id] = template.text


def _write(to: IO[bytes], miner: "Miner", ids: "array[int]", known: dict[int, str]) -> None:
    now = {id: miner.current(id) for id in set(ids)}
    texts = {id: template.text if (template := miner.template(id)) else known.get(id, "") for id in now}
    text = io.TextIOWrapper(to, encoding="utf-8", newline="", write_through=False)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("line", "template_id", "template"))
    rows.writerows((number, now[id], texts[id]) for number, id in enumerate(ids, 1))
    text.flush()
    text.detach()
