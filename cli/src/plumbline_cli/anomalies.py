"""`plumbline anomalies`: what is unusual, who sees to it, and whether it was a false alarm."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.table import Table

from plumbline_cli import shell, watching
from plumbline_cli.shell import Caller, calling, console

app = typer.Typer(
    help="What is unusual, who sees to it, and whether it was a false alarm.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/anomalies"
Id = Annotated[str, typer.Argument(metavar="ID", help="As list prints it")]
_STYLES = {"critical": "red", "warning": "yellow", "open": "bold", "false_positive": "dim"}


class State(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    FALSE_POSITIVE = "false_positive"


class Label(StrEnum):
    TRUE_POSITIVE = "true-positive"
    FALSE_POSITIVE = "false-positive"


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    state: Annotated[State | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List anomalies, the newest first."""
    page = shell.pages(caller, PATH, skip, limit, all, state=state, service=service)
    if output != "table":
        return shell.write(page, output)
    console.print(_table(page))
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def watch(
    caller: Caller,
    state: Annotated[State | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many of the newest are looked at")] = 20,
    every: watching.Every = 2,
    output: watching.Format = "table",
) -> None:
    """Watch the newest anomalies, until Ctrl-C."""
    watching.newest(caller, PATH, _table, _STYLES, every, output, state=state, service=service, limit=limit)


def _table(page: Mapping[str, Any]) -> Table:
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("onset", "state", "severity", "what", "id"):
        table.add_column(column, no_wrap=column == "onset", overflow="fold")
    for item in page["items"]:
        said = (shell.text(item[name], _STYLES) for name in ("state", "severity", "title", "id"))
        table.add_row(shell.moment(item["onset"]), *said)
    return table


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def acknowledge(caller: Caller, id: Id, output: shell.Format = "table") -> None:
    """Say that you see to an open anomaly."""
    after = caller.ask(lambda gateway: gateway.change(_path(id), "acknowledge", None, str(uuid4())))
    if output != "table":
        return shell.write(after, output)
    console.print(shell.text(f"✓ acknowledged: {after['title']}"), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def label(
    caller: Caller,
    id: Id,
    label: Annotated[Label, typer.Argument(metavar="LABEL", help="true-positive or false-positive")],
    comment: Annotated[str, typer.Option(help="Why")] = "",
    output: shell.Format = "table",
) -> None:
    """Say whether an anomaly was one. It counts for the bar of its detector; your next label takes its place."""
    body = {"label": label.replace("-", "_"), "comment": comment}
    given = caller.ask(lambda gateway: gateway.post(f"{_path(id)}/labels", body, str(uuid4()))).json()
    if output != "table":
        return shell.write(given, output)
    console.print(shell.text(f"✓ {given['label'].replace('_', ' ')}: {id}"), soft_wrap=True)
    return None


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
