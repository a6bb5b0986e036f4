"""The commands. What needs the embedded stack asks for the extra `plumbline-cli[stack]` where it is missing."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from plumbline_cli import catalog, draw
from plumbline_cli.client import Gateway, Refused

app = typer.Typer(
    name="plumbline",
    help="Reliability requirements and the telemetry that proves or breaks them.",
    no_args_is_help=True,
)
console = Console()

Folder = Annotated[Path, typer.Option("--folder", envvar="PLUMBLINE_FOLDER", help="Where the stack keeps its state")]
Url = Annotated[
    str | None, typer.Option("--url", envvar="PLUMBLINE_URL", help="The gateway; default: the local stack's")
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PLUMBLINE_TOKEN", help="An access token; default: the local stack makes one"),
]
HERE = Path(".plumbline")


def _stack() -> Any:
    try:
        from plumbline_cli import local
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("plumbline_stack"):
            raise
        _fail("this needs the embedded stack: pip install 'plumbline-cli[stack]'")
    return local


def _fail(reason: str) -> None:
    Console(stderr=True).print(f"[bold red]✗[/] {reason}")
    raise typer.Exit(1)


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except Refused as error:
        _fail(str(error))
    except httpx.HTTPError as error:
        _fail(f"the gateway does not answer ({error or type(error).__name__}); is the stack up? plumbline status")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _gateway(folder: Path, url: str | None, token: str | None, *roles: str) -> Gateway:
    if url is None or token is None:
        local = _stack()
        url = url or local.gateway_url(folder)
        token = token or local.token(folder, roles, ["platform"], "cli")
    return Gateway(str(url), str(token))


# --- The embedded stack ---------------------------------------------------------------------------------


@app.command()
def up(folder: Folder = HERE) -> None:
    """Start the whole suite in the foreground; Ctrl-C stops it."""
    _stack().up(folder, console)


@app.command()
def demo(
    folder: Folder = HERE,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up until Ctrl-C")] = False,
    examples: Annotated[Path, typer.Option(help="The requirements to begin with")] = Path("examples/plumbline.yaml"),
) -> None:
    """Show the main job on live telemetry: a fault comes, the requirement tells, the fault goes."""
    sys.exit(_stack().demo(folder, examples, keep, console))


@app.command()
def status(folder: Folder = HERE) -> None:
    """What runs, where, since when."""
    _stack().status(folder, console)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="requirements, search, analysis, gateway, …")] = None,
    folder: Folder = HERE,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1)] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
) -> None:
    """The last lines that one part of the stack, or each, has logged."""
    _stack().logs(folder, service, lines, follow, console)


@app.command()
def token(
    role: Annotated[list[str], typer.Option("--role", help="May be given several times")],
    team: Annotated[list[str] | None, typer.Option("--team", help="May be given several times")] = None,
    subject: Annotated[str, typer.Option("--subject")] = "cli",
    folder: Folder = HERE,
) -> None:
    """Print an access token of the local stack's issuer."""
    print(_stack().token(folder, role, team or [], subject))  # noqa: T201 - for $(…), without colours


@app.command()
def trace(trace_id: str, folder: Folder = HERE) -> None:
    """Draw one trace as a tree."""
    spans = _run(_stack().spans(folder, trace_id))
    if not spans:
        _fail(f"the collector keeps no trace {trace_id}")
    console.print(draw.trace_tree(spans))


@app.command()
def doctor(folder: Folder = HERE) -> None:
    """What is missing on this machine, and how to get it."""
    raise typer.Exit(_stack().doctor(folder, console))


# --- The gateway's client -------------------------------------------------------------------------------


@app.command()
def apply(file: Path, folder: Folder = HERE, url: Url = None, token: Token = None) -> None:
    """Create the requirements of a YAML file such as examples/plumbline.yaml."""
    try:
        bodies = catalog.read(file)
    except (OSError, catalog.NotACatalog) as error:
        _fail(str(error))

    async def work() -> None:
        async with _gateway(folder, url, token, "editor") as gateway:
            for body in bodies:
                created = (await gateway.create(body)).json()
                console.print(f"[green]✓[/] {created['key']} {created['title']}")

    _run(work())


@app.command()
def search(
    query: str,
    folder: Folder = HERE,
    url: Url = None,
    token: Token = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
) -> None:
    """Find requirements, anomalies and runbooks by words and by meaning."""

    async def work() -> Any:
        async with _gateway(folder, url, token, "viewer") as gateway:
            return await gateway.search(query, limit)

    found = _run(work())
    table = Table(caption=f"{found['total']} found in {found['took_ms']['total']:.0f} ms")
    for column in ("kind", "title", "service", "score"):
        table.add_column(column)
    for hit in found["items"]:
        table.add_row(hit["kind"], hit["title"], hit["service"] or "", f"{hit['score']:.2f}")
    console.print(table)


if __name__ == "__main__":
    app()
