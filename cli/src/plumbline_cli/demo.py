"""`plumbline demo`: the main job on live telemetry. Plumbline watches itself, a real fault comes and goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plumbline_cli import draw
from plumbline_cli.client import Gateway, Refused

METRIC = "http.server.request.duration"
WATCHED = "gateway-latency"
QUESTION = "people wait too long for replies at the front door"
"""In other words than the requirement's."""
REQUESTS_PER_SECOND = 25.0
FAULT_DELAY_MS = 600
LONGEST = 240.0
"""Seconds for all of it, the start of the stack included."""


class Failed(Exception):
    """Something that the demo shows did not happen."""


@dataclass
class Traffic:
    """Real requests through the gateway at a steady rate. `fault` headers, while set, go with each."""

    gateway: str
    token: str
    fault: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    errors: int = 0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator["Traffic"]:
        async with httpx.AsyncClient(
            base_url=self.gateway, headers={"Authorization": f"Bearer {self.token}"}, timeout=10, trust_env=False
        ) as client:
            task = asyncio.create_task(self._flow(client))
            try:
                yield self
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _flow(self, client: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            due = time.monotonic()
            while True:
                group.create_task(self._one(client))
                due += 1 / REQUESTS_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self, client: httpx.AsyncClient) -> None:
        self.sent += 1
        paths = ("/api/v1/requirements", "/api/v1/requirements?limit=5", "/api/v1/anomalies?limit=5")
        try:
            response = await client.get(paths[self.sent % len(paths)], headers=self.fault)
        except httpx.HTTPError:
            self.errors += 1
        else:
            self.errors += response.is_error


@dataclass
class Story:
    """What was seen, for the last page."""

    requirement: dict[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)
    burning: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    anomaly: dict[str, Any] = field(default_factory=dict)
    incident: dict[str, Any] = field(default_factory=dict)
    series: list[dict[str, Any]] = field(default_factory=list)
    hits: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Callers:
    """The tokens of those who act, and where the traces are."""

    gateway: str
    author: str
    reviewer: str
    fault: dict[str, str]
    collector: str


async def show(callers: Callers, bodies: Sequence[dict[str, Any]], console: Console) -> None:
    """Play the whole story with the requirements of `bodies`, and print it.

    Raises `Failed` where a part of it did not really happen, `Refused` where the gateway would not have it.
    """
    story = Story()
    async with (
        Gateway(callers.gateway, callers.author) as author,
        Gateway(callers.gateway, callers.reviewer) as reviewer,
        Traffic(callers.gateway, callers.author).flowing() as traffic,
    ):
        await _require(story, author, reviewer, bodies, console)
        story.before = await _verdict(
            console, author, story, traffic, ("MET",), 60, "telemetry arrives, the detector learns the usual latency"
        )
        await _until(
            console,
            "the expected band is learned",
            120,
            lambda: _band(author, story),
            f"{REQUESTS_PER_SECOND:.0f} requests/s",
        )
        traffic.fault = callers.fault
        console.print(f"[bold red]▲[/] a real fault: Envoy delays our requests by {FAULT_DELAY_MS} ms")
        try:
            story.during = await _verdict(
                console, author, story, traffic, ("AT_RISK", "VIOLATED"), 40, "the requirement's verdict turns"
            )
            story.anomaly = await _until(
                console, "the anomaly is found", 30, lambda: _anomaly(author, story), "by the analysis service"
            )
            story.incident = await _until(
                console, "an incident is opened", 15, lambda: _incident(author, story), "with where it may have begun"
            )
            story.burning = await _until(
                console, "the error budget burns", 30, lambda: _burning(author, story), "over both alerting windows"
            )
        finally:
            traffic.fault = {}
        console.print("[bold green]▼[/] the fault is gone")
        await _until(console, "the anomaly ends", 60, lambda: _resolved(author, story), "")
        story.after = await _verdict(console, author, story, traffic, ("MET",), 60, "the requirement recovers")
        story.series = await _series(author, story)
        story.hits = await _until(console, "the search finds both", 15, lambda: _both(author, story), QUESTION)
        story.spans = await _until(
            console,
            "the trace reaches the search index",
            20,
            lambda: _trace(callers.collector, story),
            story.trace_id,
        )
    _print(story, traffic, console)


async def _require(
    story: Story, author: Gateway, reviewer: Gateway, bodies: Sequence[dict[str, Any]], console: Console
) -> None:
    for body in bodies:
        response = await author.create(body)
        created: dict[str, Any] = response.json()
        if created["labels"].get("name") == WATCHED:
            story.requirement = created
            story.trace_id = response.headers.get("x-trace-id", "")
        await author.move(created["id"], "in_review")
        await reviewer.move(created["id"], "approved")
        await author.move(created["id"], "active")
    if not story.requirement:
        raise Failed(f"none of the requirements has the name {WATCHED}")
    if not story.trace_id:
        raise Failed("the gateway's answer names no trace (x-trace-id)")
    console.print(f"[green]✓[/] {len(bodies)} requirements written, reviewed by another, in force")


async def _until(console: Console, what: str, seconds: float, look: Callable[[], Awaitable[Any]], detail: str) -> Any:
    """Poll until `look` finds something; the wait is shown."""
    began = time.monotonic()
    with console.status(f"{what} …") as status:
        while True:
            passed = time.monotonic() - began
            try:
                if found := await look():
                    break
            except (Refused, httpx.HTTPError) as error:
                if passed > seconds:
                    raise Failed(f"{what}: {error}") from error
            if passed > seconds:
                raise Failed(f"{what}: not within {seconds:.0f} s")
            status.update(f"{what} … {passed:.0f} s  [dim]{detail}[/]")
            await asyncio.sleep(0.5)
    console.print(f"[green]✓[/] {what} [dim]({time.monotonic() - began:.1f} s) {detail}[/]")
    return found


async def _verdict(
    console: Console,
    author: Gateway,
    story: Story,
    traffic: Traffic,
    states: tuple[str, ...],
    seconds: float,
    what: str,
) -> dict[str, Any]:
    async def look() -> Any:
        found = (await author.get(f"/api/v1/requirements/{story.requirement['id']}"))["verdict"]
        return found if found and found["state"] in states and not found["stale"] else None

    verdict: dict[str, Any] = await _until(console, what, seconds, look, f"wanted: {' or '.join(states)}")
    return verdict | {"requests": traffic.sent}


async def _series(author: Gateway, story: Story) -> list[dict[str, Any]]:
    """What the detector made of the requirement's indicator, slice by slice."""
    signals = await author.get("/api/v1/signals", metric=METRIC, service="plumbline-gateway", limit=100)
    for signal in signals["items"]:
        if signal["requirement_id"] == story.requirement["id"]:
            since = datetime.now(UTC) - timedelta(minutes=4)
            page = await author.get(
                f"/api/v1/signals/{signal['id']}/series", **{"from": since.isoformat(), "step": 2}
            )
            points: list[dict[str, Any]] = page["points"]
            return points
    return []


async def _band(author: Gateway, story: Story) -> bool:
    return any(point["score"] is not None for point in await _series(author, story))


async def _anomaly(author: Gateway, story: Story) -> Any:
    page = await author.get("/api/v1/anomalies", requirement_id=story.requirement["id"])
    return page["items"][0] if page["items"] else None


async def _incident(author: Gateway, story: Story) -> Any:
    page = await author.get("/api/v1/incidents", anomaly_id=story.anomaly["id"])
    return page["items"][0] if page["items"] else None


async def _burning(author: Gateway, story: Story) -> Any:
    page = await author.get("/api/v1/verdicts", requirement_id=story.requirement["id"])
    for verdict in page["items"]:
        if any(objective["state"] in ("AT_RISK", "VIOLATED") for objective in verdict["objectives"]):
            return verdict
    return None


async def _resolved(author: Gateway, story: Story) -> Any:
    found = await author.get(f"/api/v1/anomalies/{story.anomaly['id']}")
    if found["state"] == "resolved":
        story.anomaly = found
    return found["state"] == "resolved"


async def _both(author: Gateway, story: Story) -> Any:
    """Both are what on-call reads first: the first of the requirements found, and the first of the anomalies."""
    items: list[dict[str, Any]] = (await author.search(QUESTION, limit=8))["items"]
    first: dict[str, str] = {}
    for item in items:
        first.setdefault(item["kind"], item["entity_id"])
    wanted = {"requirement": story.requirement["id"], "anomaly": story.anomaly["id"]}
    return items if wanted.items() <= first.items() else None


async def _trace(collector: str, story: Story) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{collector}/traces/{story.trace_id}")
    spans: list[dict[str, Any]] = response.json() if response.is_success else []
    services = {span["service"] for span in spans}
    names = {span["name"] for span in spans}
    whole = (
        {"plumbline-gateway", "plumbline-requirements", "plumbline-search", "plumbline-analysis"} <= services
        and "publish requirements.requirement.created.v1" in names
        and "process requirements.requirement.created.v1" in names
    )
    return spans if whole else None


# --- The last page --------------------------------------------------------------------------------------


def _print(story: Story, traffic: Traffic, console: Console) -> None:
    anomaly = story.anomaly
    console.print()
    line = draw.sparkline(story.series, min(100, console.width - 8))
    values = [float(point["value"]) * 1000 for point in story.series]
    bands = [point for point in story.series if point["upper"] is not None]
    told = Text()
    told.append(f"{anomaly['title']}\n", style="bold")
    told.append_text(line)
    told.append(f"\np95 at the gateway, {min(values):.0f} to {max(values):.0f} ms; ", style="dim")
    told.append("in the expected band", style="green")
    if bands:
        told.append(f" (last {bands[-1]['lower'] * 1000:.0f}–{bands[-1]['upper'] * 1000:.0f} ms)", style="green")
    told.append(", ", style="dim")
    told.append("outside", style="bold red")
    told.append(f"\n{anomaly['onset']} to {anomaly['end']}, peak score {anomaly['peak_score']:.1f}", style="dim")
    origin = story.incident["origins"][0]
    reasons = "; ".join(reason["text"] for reason in origin["reasons"])
    told.append(f"\nincident {story.incident['id']}: it may have begun with {origin['service']}, for {reasons}")
    console.print(Panel(told, title="What happened", title_align="left"))
    console.print(_verdicts(story))
    console.print(_hits(story))
    console.print(draw.trace_tree(story.spans))
    console.print(f"[dim]{traffic.sent} requests were sent, {traffic.errors} failed.[/]")


def _verdicts(story: Story) -> Table:
    table = Table(title=f"{story.requirement['key']} {story.requirement['title']}", title_justify="left")
    for column in ("", "verdict", "good fraction", "budget left", "burn rate", "reason"):
        table.add_column(column)
    for when, verdict in (
        ("before", story.before),
        ("fault", story.during),
        ("burning", story.burning),
        ("after", story.after),
    ):
        objective = verdict["objectives"][0] if verdict["objectives"] else {}
        colour = {"MET": "green", "AT_RISK": "yellow", "VIOLATED": "red"}.get(verdict["state"], "dim")
        table.add_row(
            when,
            Text(verdict["state"], style=f"bold {colour}"),
            _number(objective.get("sli"), "{:.2%}"),
            _number(objective.get("budget_remaining"), "{:.0%}"),
            _number(objective.get("burn_rate"), "{:.1f}"),
            verdict["reason"],
        )
    return table


def _hits(story: Story) -> Table:
    table = Table(title=f"search: “{QUESTION}”", title_justify="left")
    for column in ("kind", "title", "score"):
        table.add_column(column)
    wanted = {story.requirement["id"], story.anomaly["id"]}
    for hit in story.hits:
        style = "bold green" if hit["entity_id"] in wanted else "dim"
        table.add_row(hit["kind"], hit["title"], f"{hit['score']:.2f}", style=style)
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
