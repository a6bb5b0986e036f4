"""`plumbline sources`: what points are pulled from, and how that goes."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID, uuid4

import typer
from rich.table import Table

from plumbline_cli import files, forms, shell
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Code, Told, calling, console

app = typer.Typer(
    help="The Prometheus servers and CloudWatch that points are pulled from.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/sources"
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
    page = shell.pages(caller, PATH, skip, limit, all)
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
    found = caller.ask(lambda gateway: _found(gateway, name))
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
    contents = _read(file)

    async def adding(gateway: Gateway) -> list[dict[str, Any]]:
        return [await _add(gateway, content, replace) for content in contents]

    added = caller.ask(adding)
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
        path = f"{await _path(gateway, name)}/test"
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

    async def removed(gateway: Gateway) -> None:
        path = await _path(gateway, name)
        etag = (await gateway.send("GET", path)).headers["etag"]
        await gateway.send("DELETE", path, headers={"If-Match": etag})

    caller.ask(removed)
    console.print(shell.text(f"✓ removed: {name}"), soft_wrap=True)


async def _add(gateway: Gateway, content: dict[str, Any], replace: bool) -> dict[str, Any]:
    there = (await gateway.get(PATH, name=content.get("name")))["items"] if replace and content.get("name") else []
    if there:
        path, etag = f"{PATH}/{there[0]['id']}", f'"{there[0]["revision"]}"'
        answer = await gateway.send("PUT", path, json=content, headers={"If-Match": etag})
    else:
        answer = await gateway.post(PATH, content, str(uuid4()))
    added: dict[str, Any] = answer.json()
    return added


def _read(file: Path) -> list[dict[str, Any]]:
    """Raises `Told`."""
    try:
        with files.source(file) as opened:
            documents = forms.load(opened.read().decode())
    except (forms.NotAForm, UnicodeDecodeError) as error:
        raise Told(f"{file}: {error}", Code.USAGE) from None
    if not documents or not all(isinstance(each, dict) for each in documents):
        raise Told(f"{file}: needs the name, kind and spec of a source in each document", Code.USAGE)
    return documents


async def _path(gateway: Gateway, name: str) -> str:
    """Raises `Told` where there is no source of this name."""
    try:
        return f"{PATH}/{UUID(name)}"
    except ValueError:
        found = (await gateway.get(PATH, name=name))["items"]
    if not found:
        raise Told(f"there is no source {name}", Code.NOT_FOUND)
    return f"{PATH}/{quote(found[0]['id'], safe='')}"


async def _found(gateway: Gateway, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await gateway.get(await _path(gateway, name))
    return found


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
