"""The commands. What needs the embedded stack asks for the extra `plumbline-cli[stack]` where it is missing."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from plumbline_cli import (
    anomalies,
    audit,
    backtest,
    catalog,
    coverage,  # noqa: F401 - adds its command to those of requirements
    deployments,
    draw,
    incidents,
    interchange,  # noqa: F401 - likewise
    jobs,
    logs,
    notifications,
    requirements,
    search,
    shell,
    signals,
    silences,
    slo,
    sources,
    telemetry,
    what_if,  # noqa: F401 - likewise
)
from plumbline_cli.backups import commands as backups
from plumbline_cli.client import Gateway
from plumbline_cli.credentials import ClientCredentials, ServiceAccount
from plumbline_cli.shell import HERE, Caller, Code, Folder, calling, console, fail, stack, telling

app = typer.Typer(
    name="plumbline",
    help="Reliability requirements and the telemetry that proves or breaks them.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a token may be among them
)
app.add_typer(requirements.app, name="requirements")
app.add_typer(slo.app, name="slo")
app.add_typer(audit.app, name="audit")
app.add_typer(search.app, name="search")
app.add_typer(anomalies.app, name="anomalies")
app.add_typer(incidents.app, name="incidents")
app.add_typer(notifications.app, name="notifications")
notifications.app.add_typer(silences.app)
app.add_typer(signals.app, name="signals")
app.add_typer(jobs.app, name="jobs")
app.add_typer(deployments.app, name="deployments")
app.add_typer(logs.app, name="logs")
app.add_typer(sources.app, name="sources")
app.add_typer(telemetry.app, name="telemetry")
app.add_typer(backtest.app)
app.add_typer(backups.app)


# --- The embedded stack ---------------------------------------------------------------------------------


Ports = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="NAME=NUMBER",
        envvar="PLUMBLINE_PORTS",
        help="Where a part listens, such as gateway=9000; repeatable. A port that is taken is replaced by a free one",
    ),
]
Sync = Annotated[
    str,
    typer.Option(
        envvar="PLUMBLINE_NATS_SYNC_INTERVAL",
        help="How long an acknowledged event may stay out of NATS' disk, such as 200ms, or always",
    ),
]


def _config(folder: Path, ports: list[str] | None, nats_sync_interval: str) -> Any:
    try:
        return stack().config(folder, ports or [], nats_sync_interval)
    except ValueError as error:
        fail(str(error), Code.USAGE)


@app.command()
def up(folder: Folder = HERE, port: Ports = None, nats_sync_interval: Sync = "1s") -> None:
    """Start the whole suite in the foreground; Ctrl-C stops it."""
    raise typer.Exit(stack().up(_config(folder, port, nats_sync_interval), console))


@app.command()
def demo(
    folder: Folder = HERE,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up until Ctrl-C")] = False,
    examples: Annotated[Path, typer.Option(help="The requirements to begin with")] = Path("examples/plumbline.yaml"),
    port: Ports = None,
    nats_sync_interval: Sync = "1s",
) -> None:
    """Show the main job on live telemetry: a fault comes, the requirement tells, the fault goes."""
    config = _config(folder, port, nats_sync_interval)
    raise typer.Exit(stack().demo(config, _catalog(examples), keep, console))


def _catalog(file: Path) -> list[dict[str, Any]]:
    try:
        return catalog.read(file)
    except (OSError, catalog.NotACatalog) as error:
        fail(str(error), Code.USAGE)


@app.command()
def status(folder: Folder = HERE) -> None:
    """What runs, where, since when."""
    stack().status(folder, console)


@app.command()
def login() -> None:
    """Print an access token of the service account that PLUMBLINE_ISSUER, PLUMBLINE_CLIENT_ID and
    PLUMBLINE_CLIENT_SECRET (or PLUMBLINE_CLIENT_SECRET_FILE) name, by its client credentials.

    Commands that are told these get their tokens themselves.
    """
    with telling():
        if (account := ServiceAccount.of(os.environ)) is None:
            fail("PLUMBLINE_ISSUER is not set: give the issuer's URL, such as https://id.example.org/realms/sre")
        print(asyncio.run(ClientCredentials(account).token()))  # noqa: T201 - for $(…), without colours


@app.command()
def token(
    role: Annotated[list[str], typer.Option("--role", help="May be given several times")],
    team: Annotated[list[str] | None, typer.Option("--team", help="May be given several times")] = None,
    subject: Annotated[str, typer.Option("--subject")] = "cli",
    folder: Folder = HERE,
) -> None:
    """Print an access token of the local stack's issuer."""
    print(stack().token(folder, role, team or [], subject))  # noqa: T201 - for $(…), without colours


@app.command()
def trace(trace_id: str, folder: Folder = HERE) -> None:
    """Draw one trace as a tree."""
    with shell.telling():
        spans = asyncio.run(stack().spans(folder, trace_id))
    if not spans:
        fail(f"the collector keeps no trace {trace_id}")
    console.print(draw.trace_tree(spans))


@app.command()
def doctor(folder: Folder = HERE) -> None:
    """What is missing on this machine, and how to get it."""
    raise typer.Exit(stack().doctor(folder, console))


# --- The gateway's client -------------------------------------------------------------------------------


@app.command(epilog=shell.EXIT_CODES)
@calling("editor")
def apply(caller: Caller, file: Path) -> None:
    """Create the requirements of a YAML file such as examples/plumbline.yaml."""
    for body in _catalog(file):
        created = caller.ask(partial(Gateway.create, body=body)).json()
        console.print(f"[green]✓[/] {created['key']} {created['title']}")


if __name__ == "__main__":
    app()
