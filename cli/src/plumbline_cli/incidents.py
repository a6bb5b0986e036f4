"""`plumbline incidents`: anomalies that belong together, where they may have begun, and who sees to them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.table import Table
from rich.text import Text

from plumbline_cli import shell, watching
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, calling, console

app = typer.Typer(
    help="Anomalies that belong together, where they may have begun, and who sees to them.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/incidents"
Id = Annotated[str, typer.Argument(metavar="ID", help="As list prints it")]
_STYLES = {"critical": "red", "warning": "yellow", "open": "bold", "merged": "dim"}
_MARKS = {
    "deployment": ("▲", "magenta"),
    "anomaly_began": ("●", "red"),
    "anomaly_ended": ("○", "green"),
    "verdict_changed": ("◆", "yellow"),
    "commented": ("“", "cyan"),
}
_BAR = 20


class State(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    MERGED = "merged"


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    state: Annotated[State | None, typer.Option()] = None,
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    since: Annotated[str | None, typer.Option(help="Began then or later: RFC 3339")] = None,
    until: Annotated[str | None, typer.Option(help="Began before")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List incidents, the newest first."""
    page = shell.pages(caller, PATH, skip, limit, all, state=state, service=service, since=since, until=until)
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
    """Watch the newest incidents, until Ctrl-C."""
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
@calling("viewer")
def show(caller: Caller, id: Id, output: shell.Format = "table") -> None:
    """Show one incident: where it may have begun and why, and what happened when."""

    async def asked(gateway: Gateway) -> tuple[Any, Any]:
        return await gateway.get(_path(id)), await gateway.get(f"{_path(id)}/timeline", limit=100)

    incident, timeline = caller.ask(asked)
    if output != "table":
        return shell.write(incident | {"timeline": timeline["items"]}, output)
    console.print(shell.text(incident["title"]), style="bold", soft_wrap=True)
    count = incident["anomaly_count"]
    facts = (incident["severity"], incident["state"], f"{count} {'anomaly' if count == 1 else 'anomalies'}")
    console.print(Text(", ").join(shell.text(each, _STYLES) for each in facts))
    console.print("\nprobable origins", style="bold")
    for origin in incident["origins"]:
        _origin(origin)
    console.print("\ntimeline", style="bold")
    for entry in timeline["items"]:
        console.print(_entry(entry), soft_wrap=True)
    if (more := timeline["total"] - len(timeline["items"])) > 0:
        console.print(f"… and {more} more", style="dim")
    return None


def _origin(origin: Mapping[str, Any]) -> None:
    filled = round(origin["score"] * _BAR)
    bar = Text("█" * filled, style="red") + Text("░" * (_BAR - filled), style="dim")
    console.print(Text.assemble(bar, f" {origin['score']:.2f} ", shell.text(origin["service"] or origin["title"])))
    for reason in origin["reasons"]:
        console.print(
            Text.assemble((f"  +{reason['weight']:.2f} ", "dim"), shell.text(reason["text"])), soft_wrap=True
        )


def _entry(entry: Mapping[str, Any]) -> Text:
    mark, style = _MARKS.get(entry["kind"], ("■", "bold"))
    said = entry["text"] if entry["kind"] in _MARKS else f"{entry['kind']}: {entry['text']}"
    by = f" ({entry['actor']})" if entry["actor"] else ""
    return Text.assemble((shell.moment(entry["at"]), "dim"), " ", (mark, style), " ", shell.text(f"{said}{by}"))


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def ack(caller: Caller, id: Id, output: shell.Format = "table") -> None:
    """Say that you see to an open incident."""
    _tell(_changed(caller, id, "acknowledge", None), "acknowledged", output)


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def resolve(
    caller: Caller,
    id: Id,
    reason: Annotated[str, typer.Option(help="What it was, and what ended it")] = "",
    output: shell.Format = "table",
) -> None:
    """Say that an incident is over, whatever its anomalies do."""
    _tell(_changed(caller, id, "resolve", {"reason": reason}), "resolved", output)


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def comment(
    caller: Caller,
    id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    output: shell.Format = "table",
) -> None:
    """Say something of an incident; it is found by it later."""
    said = caller.ask(lambda gateway: gateway.post(f"{_path(id)}/comments", {"text": text}, str(uuid4()))).json()
    if output != "table":
        return shell.write(said, output)
    console.print(shell.text(f"✓ commented: {said['text']}"), soft_wrap=True)
    return None


def _changed(caller: Caller, id: str, verb: str, body: Any) -> dict[str, Any]:
    return caller.ask(lambda gateway: gateway.change(_path(id), verb, body, str(uuid4())))


def _tell(incident: Mapping[str, Any], done: str, output: shell.Output) -> None:
    if output != "table":
        shell.write(incident, output)
    else:
        console.print(shell.text(f"✓ {done}: {incident['title']}"), soft_wrap=True)


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
