"""`plumbline notifications`: the webhooks that are told of what happens, and silences."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Code, Told, calling, console

app = typer.Typer(
    help="The webhooks that are told of incidents, objectives and verdicts.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/notification-targets"
SILENCES = "/api/v1/silences"
_STYLES = {"disabled": "yellow"}


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class SilenceState(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List notification targets by name, with how many messages wait, and how many are dead."""
    page = shell.pages(caller, PATH, skip, limit, all)
    if output != "table":
        return shell.write(page, output)
    counts = caller.ask(lambda gateway: _counts(gateway, page["items"]))
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("name", "state", "format", "url", "waiting", "dead"):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    for item, (waiting, dead) in zip(page["items"], counts, strict=True):
        state = "enabled" if item["enabled"] else item["disabled_reason"] or "disabled"
        said = (item["name"], state, item["format"], item["url"], waiting, dead)
        table.add_row(*(shell.text(str(each), _STYLES) for each in said))
    console.print(table)
    return None


@app.command("test", epilog=shell.EXIT_CODES)
@calling("operator")
def try_target(
    caller: Caller,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As list prints it")],
    output: shell.Format = "table",
) -> None:
    """Send a message now, and tell what the receiver answers."""

    async def tried(gateway: Gateway) -> dict[str, Any]:
        found = (await gateway.get(PATH, name=name))["items"]
        if not found:
            raise Told(f"there is no notification target {name}", Code.NOT_FOUND)
        answer = await gateway.send("POST", f"{PATH}/{found[0]['id']}/test", timeout=35)
        came: dict[str, Any] = answer.json()
        return came

    came = caller.ask(tried)
    if output != "table":
        shell.write(came, output)
    elif came["delivered"]:
        said = f"✓ {name} took it: status {came['status']} in {came['seconds']} s"
        console.print(shell.text(said), soft_wrap=True)
    if not came["delivered"]:
        raise Told(f"{name}: {came['error']}")


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


async def _counts(gateway: Gateway, targets: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """The messages of each that wait, and that are dead."""

    async def count(target: dict[str, Any], state: str) -> int:
        page = await gateway.get(f"{PATH}/{target['id']}/deliveries", state=state, limit=1)
        return int(page["total"])

    return [(await count(each, "pending"), await count(each, "dead")) for each in targets]
