"""`plumbline notifications`: the webhooks that are told of what happens, and how their messages fare."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.client import Gateway
from plumbline_cli.named import Collection
from plumbline_cli.shell import Caller, Told, calling, console

app = typer.Typer(
    help="The webhooks that are told of incidents, objectives and verdicts.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

TARGETS = Collection("/api/v1/notification-targets", "notification target")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its id")]
_FILTERS = ("services", "teams", "requirement_ids", "severities")
_PACE = ("group_wait", "group_interval", "repeat_interval")
_STYLES = {"disabled": "yellow", "dead": "red", "pending": "yellow", "delivered": "green", "firing": "red"}


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


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
    page = shell.pages(caller, TARGETS.path, skip, limit, all)
    if output != "table":
        return shell.write(page, output)
    counts = caller.ask(lambda gateway: _counts(gateway, page["items"]))
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("name", "state", "format", "url", "waiting", "dead"):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    for item, (waiting, dead) in zip(page["items"], counts, strict=True):
        said = (item["name"], _state(item), item["format"], item["url"], waiting, dead)
        table.add_row(*(shell.text(str(each), _STYLES) for each in said))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def show(caller: Caller, name: Name, output: shell.Format = "table") -> None:
    """Show one target: where its messages go, and what it is told of."""
    found = caller.ask(lambda gateway: TARGETS.one(gateway, name))
    if output != "table":
        return shell.write(found, output)
    chosen = [f"{filter} {', '.join(found[filter])}" for filter in _FILTERS if found[filter]]
    wait, interval, repeat = (found[f"{each}_seconds"] for each in _PACE)
    lines = {
        "target": f"{found['name']}, revision {found['revision']}",
        "at": found["url"],
        "state": _state(found),
        "format": found["format"],
        "told of": ", ".join(found["events"]),
        "only of": "; ".join(chosen) or "–",
        "grouped by": ", ".join(found["group_by"]) or "–",
        "pace": f"{wait} s after the first news, then each {interval} s; without news again after {repeat} s",
        "signed with": found["secret"] or "–",
    }
    for label, value in lines.items():
        console.print(shell.text(f"{label:<11} {value}"), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def add(
    caller: Caller,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML such as examples/notifications/chat.yaml, or -")],
    replace: Annotated[bool, typer.Option("--replace", help="Change a target that is there already")] = False,
    output: shell.Format = "table",
) -> None:
    """Have the targets of a file told of what happens from now on."""
    contents = TARGETS.read(file, needs="the name and url")
    added = caller.ask(lambda gateway: TARGETS.add(gateway, contents, replace))
    if output != "table":
        return shell.write({"items": added, "total": len(added)}, output)
    for each in added:
        console.print(shell.text(f"✓ {each['name']} ({each['format']}), revision {each['revision']}"), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def remove(caller: Caller, name: Name) -> None:
    """Tell a target nothing more, of what waits to be delivered neither."""
    caller.ask(lambda gateway: TARGETS.remove(gateway, name))
    console.print(shell.text(f"✓ removed: {name}"), soft_wrap=True)


@app.command("test", epilog=shell.EXIT_CODES)
@calling("operator")
def try_target(caller: Caller, name: Name, output: shell.Format = "table") -> None:
    """Send a message now, and tell what the receiver answers."""

    async def tried(gateway: Gateway) -> dict[str, Any]:
        path = f"{await TARGETS.address(gateway, name)}/test"
        came: dict[str, Any] = (await gateway.send("POST", path, timeout=35)).json()
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
@calling("viewer")
def alerts(
    caller: Caller,
    name: Name,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List what goes on of what a target is told of, silenced or not, and ends that are still to be told."""
    page = shell.pages(caller, f"{_address(caller, name)}/alerts", skip, limit, all)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("since", "state", "severity", "told", "what"):
        table.add_column(column, no_wrap=column != "what", overflow="fold")
    for item in page["items"]:
        told = "yes" if item["told"] else "not yet"
        said = (shell.moment(item["starts_at"]), item["state"], item["severity"], told, item["summary"])
        table.add_row(*(shell.text(each, _STYLES) for each in said))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def deliveries(
    caller: Caller,
    name: Name,
    state: Annotated[DeliveryState | None, typer.Option()] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List the messages of a week to a target, the latest first, with what its receiver answered."""
    page = shell.pages(caller, f"{_address(caller, name)}/deliveries", skip, limit, all, state=state)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("made at", "state", "alerts", "tries", "next try", "answer", "id"):
        table.add_column(column, no_wrap=column in ("made at", "state"), overflow="fold")
    for item in page["items"]:
        answer = item["last_error"] or (f"status {item['last_status']}" if item["last_status"] else "")
        later = shell.moment(item["next_try"]) if item["next_try"] and item["state"] == "pending" else ""
        made = (shell.moment(item["created_at"]), item["state"], item["alerts"], item["attempts"])
        table.add_row(*(shell.text(str(each), _STYLES) for each in (*made, later, answer, item["id"])))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def retry(
    caller: Caller, name: Name, id: Annotated[str, typer.Argument(metavar="ID", help="As deliveries prints it")]
) -> None:
    """Try a message again now that waits or is dead, and for another day where that fails."""

    async def tried(gateway: Gateway) -> None:
        path = await TARGETS.address(gateway, name)
        await gateway.send("POST", f"{path}/deliveries/{quote(id, safe='')}/retry")

    caller.ask(tried)
    console.print(shell.text(f"✓ is tried again: {id}"), soft_wrap=True)


def _address(caller: Caller, name: str) -> str:
    return caller.ask(lambda gateway: TARGETS.address(gateway, name))


def _state(target: dict[str, Any]) -> str:
    return "enabled" if target["enabled"] else target["disabled_reason"] or "disabled"


async def _counts(gateway: Gateway, targets: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """The messages of each that wait, and that are dead."""

    async def count(target: dict[str, Any], state: str) -> int:
        page = await gateway.get(f"{TARGETS.path}/{target['id']}/deliveries", state=state, limit=1)
        return int(page["total"])

    return [(await count(each, "pending"), await count(each, "dead")) for each in targets]
