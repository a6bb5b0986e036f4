"""`plumbline notifications silence|silences|unsilence`: what nobody is told of for a while."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.shell import Caller, calling, console
from plumbline_common.schemas import Severity

app = typer.Typer()

SILENCES = "/api/v1/silences"


class SilenceState(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def silence(
    caller: Caller,
    comment: Annotated[str, typer.Argument(metavar="COMMENT", help="Why")],
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="From now on, such as 30m, 2h or 1d")],
    service: Annotated[str | None, typer.Option(help="service.name")] = None,
    of_team: Annotated[str | None, typer.Option("--of-team", help="The owners of the requirements")] = None,
    requirement: Annotated[str | None, typer.Option(metavar="ID", help="The id of a requirement")] = None,
    severity: Annotated[Severity | None, typer.Option()] = None,
    output: shell.Format = "table",
) -> None:
    """Have nobody told of what fits all that is given. What goes on after it is told then."""
    given = {"service": service, "team": of_team, "requirement_id": requirement, "severity": severity}
    body = {
        "matchers": {name: value for name, value in given.items() if value is not None},
        "ends_at": (datetime.now(UTC) + shell.duration(for_)).isoformat(),
        "comment": comment,
    }
    made: dict[str, Any] = caller.ask(lambda gateway: gateway.post(SILENCES, body, str(uuid4()))).json()
    if output != "table":
        return shell.write(made, output)
    said = f"✓ silenced until {shell.moment(made['ends_at'])} ({made['id']})"
    console.print(shell.text(said), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def silences(
    caller: Caller,
    state: Annotated[SilenceState | None, typer.Option()] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List silences: what nobody is told of, how long, and who said so."""
    page = shell.pages(caller, SILENCES, skip, limit, all, state=state)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("state", "until", "what", "why", "by", "id"):
        table.add_column(column, no_wrap=column in ("state", "until"), overflow="fold")
    for item in page["items"]:
        what = " ".join(f"{name}={value}" for name, value in item["matchers"].items() if value is not None)
        said = (item["state"], shell.moment(item["ends_at"]), what, item["comment"], item["created_by"], item["id"])
        table.add_row(*map(shell.text, said))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def unsilence(caller: Caller, id: Annotated[str, typer.Argument(metavar="ID", help="As silences prints it")]) -> None:
    """End a silence now. What goes on is told."""
    caller.ask(lambda gateway: gateway.send("DELETE", f"{SILENCES}/{quote(id, safe='')}"))
    console.print(shell.text(f"✓ ended: {id}"), soft_wrap=True)
