"""`plumbline sources`: what points are pulled from, and how that goes."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.client import Gateway
from plumbline_cli.named import Collection
from plumbline_cli.shell import Caller, Told, calling, console

app = typer.Typer(
    help="The Prometheus servers and CloudWatch that points are pulled from.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

SOURCES = Collection("/api/v1/sources", "source")
Source = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its id")]
_STYLES = {"healthy": "green", "failing": "red", "disabled": "dim", "pending": "yellow"}


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List sources by name, each with its state and what is wrong with it."""
    page = shell.pages(caller, SOURCES.path, skip, limit, all)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("name", "kind", "state", "lag", "points", "backfill", "error"):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    for item in page["items"]:
        said = (
            item["name"],
            item["kind"],
            item["status"]["state"],
            *_progress(item["status"]),
            _error(item["status"]),
        )
        table.add_row(*(shell.text(each, _STYLES) for each in said))
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def show(caller: Caller, name: Source, output: shell.Format = "table") -> None:
    """Show one source: how pulling it goes, and what is asked of it."""
    found = caller.ask(lambda gateway: SOURCES.one(gateway, name))
    if output != "table":
        return shell.write(found, output)
    status = found["status"]
    lag, points, backfill = _progress(status)
    lines = {
        "source": f"{found['name']} ({found['kind']}), revision {found['revision']}",
        "at": found["spec"].get("url") or found["spec"]["region"],
        "state": status["state"],
        "last success": shell.moment(status["last_success"] or "–"),
        "last error": _error(status) or "–",
        "lag": lag,
        "points": points,
        "backfill": backfill,
        "warnings": "; ".join(status["warnings"]) or "–",
        "queries": ", ".join(query["name"] for query in found["spec"]["queries"]),
    }
    for label, value in lines.items():
        console.print(shell.text(f"{label:<13} {value}"), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def add(
    caller: Caller,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML such as examples/sources/prometheus.yaml, or -")],
    replace: Annotated[bool, typer.Option("--replace", help="Change a source that is there already")] = False,
    output: shell.Format = "table",
) -> None:
    """Have points pulled from the sources of a file."""
    contents = SOURCES.read(file, needs="the name, kind and spec")
    added = caller.ask(lambda gateway: SOURCES.add(gateway, contents, replace))
    if output != "table":
        return shell.write({"items": added, "total": len(added)}, output)
    for each in added:
        console.print(shell.text(f"✓ {each['name']} ({each['kind']}), revision {each['revision']}"), soft_wrap=True)
    return None


@app.command("test", epilog=shell.EXIT_CODES)
@calling("operator")
def try_query(
    caller: Caller,
    name: Source,
    query: Annotated[str | None, typer.Option(help="The name of one of its queries; default: the first")] = None,
    output: shell.Format = "table",
) -> None:
    """Ask one query now and tell what comes, or what the problem is. Nothing is stored."""

    async def tried(gateway: Gateway) -> dict[str, Any]:
        path = f"{await SOURCES.address(gateway, name)}/test"
        answer: dict[str, Any] = (
            await gateway.send("POST", path, params={"query": query} if query is not None else {}, timeout=35)
        ).json()
        return answer

    came = caller.ask(tried)
    if output != "table":
        shell.write(came, output)
    elif came["problem"] is None:
        counts = f"{came['series']} series, {shell.many(came['points'], 'point')}"
        console.print(shell.text(f"✓ {came['query']}: {counts} in {came['seconds']} s"), soft_wrap=True)
        for warning in came["warnings"]:
            console.print(shell.text(f"! {warning}"), soft_wrap=True)
    if came["problem"] is not None:
        raise Told(f"{came['query']}: {came['problem']['detail']} ({came['problem']['reason']})")


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def remove(caller: Caller, name: Source) -> None:
    """Pull nothing more from a source. What was pulled stays."""
    caller.ask(lambda gateway: SOURCES.remove(gateway, name))
    console.print(shell.text(f"✓ removed: {name}"), soft_wrap=True)


def _progress(status: dict[str, Any]) -> tuple[str, str, str]:
    """The lag, the points and the backfill, in words."""
    lag, backfill = status["lag_seconds"], status["backfill"]
    return (
        "–" if lag is None else f"{lag:.0f} s",
        f"{status['points']:,}",
        "–" if backfill is None else f"{backfill['done']:.0%} since {shell.moment(backfill['since'])}",
    )


def _error(status: dict[str, Any]) -> str:
    """The last error while it lasts."""
    error = status["last_error"] if status["failing_since"] else None
    return "" if error is None else f"{error['query']}: {error['detail']}"
