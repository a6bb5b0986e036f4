"""`plumbline jobs`: work that takes long, followed to its end or cancelled."""

import asyncio
import json
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from plumbline_cli import shell
from plumbline_cli.client import Gateway
from plumbline_cli.shell import Caller, Told, calling, console, errors

app = typer.Typer(
    help="Work that takes long: backtests, backfills, retunes, what-ifs, log mining.",
    epilog=shell.EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/jobs"
OVER = ("succeeded", "failed", "cancelled", "timed_out")
TRIES = 30
"""So often a stream that breaks off is opened again."""
Id = Annotated[str, typer.Argument(metavar="ID", help="As list prints it")]
_STYLES = {"succeeded": "green", "failed": "red", "timed_out": "red", "cancelled": "dim", "running": "bold"}


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@app.command("list", epilog=shell.EXIT_CODES)
@calling("viewer")
def list_(
    caller: Caller,
    state: Annotated[State | None, typer.Option()] = None,
    kind: Annotated[str | None, typer.Option(help="Such as backtest or what_if")] = None,
    skip: shell.Skip = 0,
    limit: shell.Limit = 50,
    all: shell.All = False,
    output: shell.Format = "table",
) -> None:
    """List jobs, the newest first."""
    page = shell.pages(caller, PATH, skip, limit, all, state=state, kind=kind)
    if output != "table":
        return shell.write(page, output)
    table = Table(caption=f"{len(page['items'])} of {page['total']}")
    for column in ("asked at", "kind", "state", "done", "service", "by", "id"):
        table.add_column(column, no_wrap=column in ("asked at", "done"), overflow="fold")
    for item in page["items"]:
        said = (item["kind"], item["state"], f"{item['progress']:.0%}", item["service"] or "", item["created_by"])
        cells = (shell.text(cell, _STYLES) for cell in (*said, item["id"]))
        table.add_row(shell.moment(item["created_at"]), *cells)
    console.print(table)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def show(caller: Caller, id: Id, output: shell.Format = "yaml") -> None:
    """Print a job with what it was asked and what came of it."""
    job = caller.get(_path(id))
    if output != "table":
        return shell.write(job, output)
    console.print(shell.text(told(job)), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("viewer")
def watch(caller: Caller, id: Id, output: shell.Format = "table") -> None:
    """Follow a job to its end. Fails where it has no result."""
    job = followed(caller, id)
    if output != "table":
        return shell.write(job, output)
    console.print(shell.text(told(job)), soft_wrap=True)
    return None


@app.command(epilog=shell.EXIT_CODES)
@calling("operator")
def cancel(caller: Caller, id: Id, output: shell.Format = "table") -> None:
    """End a job that is not over yet."""
    job = caller.ask(lambda gateway: gateway.post(f"{_path(id)}/cancel", None, str(uuid4()))).json()
    if output != "table":
        return shell.write(job, output)
    console.print(shell.text(f"✓ {told(job)}"), soft_wrap=True)
    return None


def followed(caller: Caller, id: str) -> dict[str, Any]:
    """The job with its result, when it has one. How far it is is shown on standard error meanwhile.

    Raises `Told` where it ends without one.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as shown:
        task = shown.add_task("queued", total=1.0)

        async def follow(gateway: Gateway) -> dict[str, Any]:
            async for job in _states(gateway, id):
                said = shell.text(job["message"] or job["state"]).plain
                shown.update(task, completed=job["progress"], description=said)
            found: dict[str, Any] = await gateway.get(_path(id))
            return found

        job = caller.ask(follow)
    if job["state"] != "succeeded":
        raise Told(told(job))
    return job


def told(job: dict[str, Any]) -> str:
    """One line of it."""
    failure = job.get("failure")
    reason = f": {failure['title']}: {failure['detail']}" if failure else ""
    return f"{job['kind']} {job['id']} {job['state'].replace('_', ' ')}{reason}"


async def _states(gateway: Gateway, id: str) -> AsyncIterator[dict[str, Any]]:
    """The job at each change, up to its end, also where the connection breaks off in between."""
    last, job = "0", None
    for _ in range(TRIES):
        try:
            async for line in gateway.lines(f"{_path(id)}/events", headers={"Last-Event-ID": last}):
                name, _, value = line.decode().partition(": ")
                if name == "id":
                    last = value
                elif name == "data":
                    job = json.loads(value)
                    yield job
        except httpx.TransportError:
            await asyncio.sleep(1)
        if job is not None and job["state"] in OVER:
            return
    raise Told(f"the job could not be followed to its end; plumbline jobs show {id}")


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
