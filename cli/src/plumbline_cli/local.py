"""What the commands do with the embedded stack. Imported only where `plumbline-cli[stack]` is installed."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from plumbline_cli import demo as journey
from plumbline_cli.client import Refused
from plumbline_cli.shell import Told, fail
from plumbline_stack.alone import postgres_alone
from plumbline_stack.config import StackConfig
from plumbline_stack.credentials import Credentials
from plumbline_stack.doctor import examine
from plumbline_stack.keys import Issuer
from plumbline_stack.layout import SERVICES, IncompleteCheckout
from plumbline_stack.postgres import PostgresServer
from plumbline_stack.processes import NotReady
from plumbline_stack.state import AlreadyRunning, StackState, read_state
from plumbline_stack.supervisor import Stack, StackError, run_foreground

DEMO = "demo"
INTERRUPTED = 130
SHORT = {
    "PLUMBLINE_ANALYSIS_EVALUATION_INTERVAL_SECONDS": "1",
    "PLUMBLINE_ANALYSIS_INCIDENT_INTERVAL_SECONDS": "1",
    "PLUMBLINE_ANALYSIS_SHORT_FLOOR_SECONDS": "6",
    "PLUMBLINE_ANALYSIS_LONG_FLOOR_SECONDS": "14",
}
_SIGNS = {"running": "[green]✓[/]", "ready": "[green]✓[/]", "failed": "[red]✗[/]", "note": "[yellow]![/]"}


class Progress:
    """One line for each part of the stack, redrawn while they start; what happens later is a line of its own.

    Where no terminal redraws, a part is a line once it is ready.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._steps: dict[str, tuple[str, str]] = {}
        self._quiet = {"running", "starting", "stopping", "stopped"}
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(self._table(), console=console, refresh_per_second=8, transient=True)
            self._live.start()

    def __call__(self, step: str, state: str, detail: str) -> None:
        self._steps[step] = (state, detail)
        if self._live is not None:
            self._live.update(self._table())
        elif state not in self._quiet:
            self._console.print(f"{_SIGNS.get(state, '[yellow]![/]')} {step}: {state} {escape(detail)}".rstrip())

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for step, (state, detail) in self._steps.items():
            table.add_row(_SIGNS.get(state, "[cyan]…[/]"), step, f"[dim]{state} {escape(detail)}[/]")
        return table

    def done(self) -> None:
        self.close()
        names = ", ".join(step for step in self._steps if "migrations" not in step)
        self._console.print(f"[green]✓[/] up: {names} [dim]({time.monotonic() - self._began:.1f} s)[/]")

    def close(self) -> None:
        self._quiet.add("ready")
        if self._live is not None:
            self._live.stop()
            self._live = None


def config(folder: Path, ports: Sequence[str], nats_sync_interval: str) -> StackConfig:
    """Of the options of the commands; `ports` are `name=number`. Raises ValueError for what can't be meant."""
    return StackConfig(folder=folder, ports=dict(map(_port, ports)), nats_sync_interval=nats_sync_interval)


def _port(given: str) -> tuple[str, int]:
    name, _, number = given.partition("=")
    if not number.isdecimal() or not 0 < int(number) < 65_536:
        raise ValueError(f"--port {given}: needs a name and a number from 1 to 65535, such as gateway=8080")
    return name.replace("-", "_"), int(number)


def up(config: StackConfig, console: Console) -> int:
    """The exit code: 0 where the stack came up and was stopped."""
    progress = Progress(console)
    up = False

    async def wait(stack: Stack) -> None:
        nonlocal up
        up = True
        progress.done()
        token = stack.token("editor", "operator", teams=["platform"], subject="you", expires_in=86_400)
        console.print(f"gateway  [bold]{stack.urls['gateway']}[/]\ndocs     {stack.urls['docs']}")
        console.print("try it (the token lives for a day):")
        print(f"  curl -H 'Authorization: Bearer {token}' '{stack.urls['gateway']}/api/v1/requirements'")  # noqa: T201
        console.print("[dim]Ctrl-C stops everything.[/]")
        await asyncio.Event().wait()

    _run(config, wait, progress, console)
    return 0 if up else INTERRUPTED


def demo(config: StackConfig, bodies: Sequence[dict[str, Any]], keep: bool, console: Console) -> int:
    """The exit code: 0 where all of the story really happened, with the requirements of `bodies`."""
    # Anew each time: what an earlier demo broke would count against this one's requirements. Its windows of
    # alerting suit two minutes; the defaults suit days.
    config = replace(config, folder=config.folder / DEMO, anew=True, otlp_interval=1.0, extra_env=SHORT)
    progress = Progress(console)
    began = time.monotonic()
    code = INTERRUPTED

    async def play(stack: Stack) -> None:
        nonlocal code
        progress.done()
        callers = journey.Callers(
            gateway=stack.urls["gateway"],
            author=stack.token("editor", teams=["platform"], subject="alice"),
            reviewer=stack.token("reviewer", subject="rita"),
            fault=stack.fault_header | {"x-plumbline-fault-delay-ms": str(journey.FAULT_DELAY_MS)},
            collector=stack.urls["collector"],
        )
        try:
            async with asyncio.timeout(journey.LONGEST - (time.monotonic() - began)):
                await journey.show(callers, bodies, console)
        except (journey.Failed, Refused, httpx.HTTPError, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            said = f"it was not done within {journey.LONGEST:.0f} s" if late else str(error) or type(error).__name__
            console.print(f"[bold red]✗ {escape(said)}[/]")
            console.print("[dim]plumbline logs shows what each part said.[/]")
            code = 1
            return
        code = 0
        console.print(f"[green]✓[/] all of it really happened, in {time.monotonic() - began:.0f} s")
        if keep:
            console.print(f"the stack stays up: {stack.urls['gateway']} [dim]Ctrl-C stops it.[/]")
            await asyncio.Event().wait()

    _run(config, play, progress, console)
    return code


def _run(config: StackConfig, work: Callable[[Stack], Awaitable[None]], progress: Progress, console: Console) -> None:
    """Raises typer.Exit where the stack does not come up."""
    try:
        asyncio.run(run_foreground(config, work, progress))
    except AlreadyRunning as error:
        progress.close()
        console.print(f"[red]✗[/] {escape(str(error))}")
        raise typer.Exit(3) from None
    except (StackError, IncompleteCheckout, OSError) as error:
        progress.close()
        console.print(f"[bold red]✗ the stack did not come up:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    finally:
        progress.close()


def status(folder: Path, console: Console) -> None:
    state = _state(folder, console)
    table = Table(title=f"stack in {place(folder)}, since {state.started_at}", title_justify="left")
    for column in ("part", "status", "pid", "restarts", "address", "last exit"):
        table.add_column(column, no_wrap=column in ("part", "address"), overflow="fold")
    for child in state.children:
        colour = "green" if child.status == "running" else "yellow"
        address = child.url or (f"127.0.0.1:{child.port}" if child.port else "")
        table.add_row(
            child.name,
            f"[{colour}]{child.status}[/]",
            str(child.pid or ""),
            str(child.restarts),
            address,
            child.last_exit or "",
        )
    console.print(table)


def place(folder: Path) -> Path:
    """`folder`, or the demo's below it where only that has run or runs."""
    candidates = [(candidate, read_state(candidate)) for candidate in (folder, folder / DEMO)]
    running = [candidate for candidate, state in candidates if state is not None and state.running]
    known = [candidate for candidate, state in candidates if state is not None]
    return (running or known or [folder])[0]


def _state(folder: Path, console: Console) -> StackState:
    state = read_state(place(folder))
    if state is None or not state.running:
        console.print(f"[red]✗[/] no stack runs in {folder}; start one with plumbline up")
        raise typer.Exit(1)
    return state


def logs(folder: Path, service: str | None, lines: int, follow: bool, console: Console) -> None:
    folder = place(folder)
    files = {path.stem: path for path in sorted((folder / "logs").glob("*.log"))}
    if service is not None and service not in files:
        console.print(f"[red]✗[/] there is no log of {service}; there are: {', '.join(files) or 'none'}")
        raise typer.Exit(1)
    shown = {service: files[service]} if service else files
    ends: dict[str, int] = {}
    for name, path in shown.items():
        with path.open(errors="replace") as file:
            _print_lines(console, name, deque(file, lines))
            ends[name] = file.tell()
    while follow:
        time.sleep(0.3)  # noqa: TID251 - a command line without an event loop
        for name, path in shown.items():
            with path.open(errors="replace") as file:
                file.seek(ends[name] if path.stat().st_size >= ends[name] else 0)
                _print_lines(console, name, file)
                ends[name] = file.tell()


def _print_lines(console: Console, name: str, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(f"[cyan]{name}[/] {escape(line.rstrip())}", highlight=False, soft_wrap=True)


def gateway_url(folder: Path) -> str:
    state = read_state(place(folder))
    if state is None or not state.running:
        fail(f"no stack runs in {folder}: start one with plumbline up, or name a gateway with --url and --token")
    return str(state.urls["gateway"])


def token(folder: Path, roles: Sequence[str], teams: Sequence[str], subject: str) -> str:
    """Signed with the key of the stack in `folder`; good for an hour."""
    folder = place(folder)
    if not (folder / "secrets").is_dir():
        Console(stderr=True).print(f"[red]✗[/] {folder} holds no stack; start one with plumbline up")
        raise typer.Exit(1)
    return Issuer(folder / "secrets").token(*roles, teams=teams, subject=subject)


@contextlib.asynccontextmanager
async def database(folder: Path, *, alone: bool) -> AsyncIterator[Mapping[str, str]]:
    """The addresses of the schemas' owners by service, of the stack in `folder`, an absolute path; its
    PostgreSQL runs meanwhile.

    `alone`: nothing else of the stack does. Raises `Told`.
    """
    state = read_state(folder)
    if state is not None and state.running and not alone:
        server = PostgresServer(folder, state.ports["postgres"], Credentials(folder / "secrets"))
        yield {name: server.owner_dsn(name) for name in SERVICES}
        return
    try:
        async with postgres_alone(folder) as server:
            yield {name: server.owner_dsn(name) for name in SERVICES}
    except (AlreadyRunning, NotReady, IncompleteCheckout) as error:
        raise Told(str(error)) from None


async def spans(folder: Path, trace_id: str) -> list[dict[str, Any]]:
    collector = _state(folder, Console(stderr=True)).urls["collector"]
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{collector}/traces/{trace_id}")
    found: list[dict[str, Any]] = response.json() if response.is_success else []
    return found


def doctor(folder: Path, console: Console) -> int:
    """The exit code: 1 where something is missing."""
    findings = asyncio.run(examine(folder))
    for finding in findings:
        console.print(f"{'[green]✓[/]' if finding.ok else '[red]✗[/]'} {finding.name}: {escape(finding.detail)}")
        if not finding.ok and finding.remedy:
            console.print(f"  [yellow]→[/] {escape(finding.remedy)}")
    return 0 if all(finding.ok for finding in findings) else 1
