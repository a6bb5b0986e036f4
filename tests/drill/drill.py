"""The drill of backup and restore on an embedded stack of its own: `make drill`.

Real data comes through the gateway, a backup is taken while writes go on, and then three times something is lost: the
three schemas, the JetStream store, the machine with all that it kept. After each the suite comes up and is asked
through the gateway for what was there, and whether events are published and consumed. Ends with 1 at the first thing
that is not so.
"""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import nats
from nats.errors import TimeoutError as NatsTimeout
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plumbline_cli.client import Gateway, Refused
from plumbline_stack import ports
from plumbline_stack.alone import forget_events, postgres_alone
from plumbline_stack.config import DEFAULT_PORTS, StackConfig
from plumbline_stack.layout import SERVICES
from plumbline_stack.supervisor import Stack, StackError

PATH = "/api/v1/requirements"
REQUIREMENTS, AFTER = 60, 10
SHOP = "shop-of-the-drill"
QUEUE = {
    "name": "queue",
    "indicator": {
        "thresholdMetric": {
            "metricSource": {
                "spec": {"metric": "queue.length", "attributes": {"service.name": SHOP}, "aggregation": "mean"}
            }
        }
    },
    "timeWindow": [{"duration": "1h"}],
    "objectives": [{"op": "lte", "value": 50, "target": 0.9}],
}
SHORT = {
    "PLUMBLINE_ANALYSIS_EVALUATION_INTERVAL_SECONDS": "1",
    "PLUMBLINE_ANALYSIS_INCIDENT_INTERVAL_SECONDS": "1",
    "PLUMBLINE_ANALYSIS_SHORT_FLOOR_SECONDS": "6",
    "PLUMBLINE_ANALYSIS_LONG_FLOOR_SECONDS": "14",
}


class Failed(Exception):
    """Something is not as it was."""


def held(fact: bool, said: str) -> None:
    if not fact:
        raise Failed(said)


@dataclass
class Story:
    """What was done, in order; and what the suite held at the moment of the backup."""

    console: Console
    steps: list[tuple[str, float, str]] = field(default_factory=list)
    written: dict[str, tuple[int, datetime, datetime]] = field(default_factory=dict)
    """Of each requirement its revision, when it was asked for, and when that was answered."""
    manifest: dict[str, Any] = field(default_factory=dict)
    anomaly: dict[str, Any] = field(default_factory=dict)
    watched: str = ""
    history: list[Any] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """What is put into the list is told beside the seconds."""
        said: list[str] = []
        began = time.monotonic()
        with self.console.status(f"{name} …"):
            yield said
        seconds, figures = time.monotonic() - began, "; ".join(said)
        self.steps.append((name, seconds, figures))
        self.console.print(f"[green]✓[/] {name} [dim]{seconds:.1f} s  {figures}[/]", highlight=False)

    def table(self) -> Table:
        table = Table(title="backup and restore", title_justify="left")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("figures")
        for name, seconds, said in self.steps:
            table.add_row(name, f"{seconds:.1f}", said)
        return table


async def until(what: str, seconds: float, look: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        held(time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.3)
    return found


@contextlib.asynccontextmanager
async def suite(story: Story, folder: Path) -> AsyncIterator[Stack]:
    config = StackConfig(folder, {name: ports.choose() for name in DEFAULT_PORTS}, extra_env=SHORT)
    with story.step("the suite comes up"):
        stack = await Stack(config).__aenter__()
    try:
        yield stack
    finally:
        await stack.__aexit__(None, None, None)


def caller(stack: Stack, *roles: str, subject: str = "alice") -> Gateway:
    return Gateway(stack.urls["gateway"], stack.token(*roles, teams=["platform"], subject=subject), timeout=30)


async def plumbline(*arguments: object) -> str:
    """What the command printed. Raises Failed where it does not end with 0."""
    argv = [sys.executable, "-m", "plumbline_cli.main", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=PIPE)
    out, complaints = await process.communicate()
    held(process.returncode == 0, f"plumbline {arguments[0]} ended with {process.returncode}: {complaints.decode()}")
    return out.decode()


# --- What there is to lose ------------------------------------------------------------------------------


async def write(story: Story, author: Gateway, title: str, **more: Any) -> dict[str, Any]:
    asked = datetime.now(UTC)
    made: dict[str, Any] = (await author.create({"title": title, "owner_team": "platform", **more})).json()
    story.written[made["id"]] = made["revision"], asked, datetime.now(UTC)
    return made


async def fill(story: Story, stack: Stack) -> None:
    async with (
        caller(stack, "editor", "operator") as author,
        caller(stack, "reviewer", subject="rita") as reviewer,
        caller(stack, "ingest") as collector,
    ):
        with story.step("requirements, telemetry, an anomaly through the gateway") as said:
            for number in range(REQUIREMENTS):
                await write(story, author, f"The drill keeps its promise {number}", service="drill")
            now = datetime.now(UTC)
            calm = [(now - timedelta(seconds=2 * back), 20.0 + back % 3) for back in range(300, 0, -1)]
            await push(collector, calm)
            made = await write(story, author, "The queue stays short", service=SHOP, slos=[QUEUE])
            story.watched = made["id"]
            for gateway, state in ((author, "in_review"), (reviewer, "approved"), (author, "active")):
                moved = await gateway.move(story.watched, state)
            story.written[story.watched] = (moved["revision"], *story.written[story.watched][1:])
            story.anomaly = await until("an anomaly of the queue", 90, lambda: anomaly(story, author, collector))
            story.history = (await author.get(f"{PATH}/{story.watched}/revisions"))["items"]
            await until("search finds both", 30, lambda: found_by_search(story, author))
            said.append(f"{len(story.written)} requirements, {story.anomaly['title']!r}")


async def push(collector: Gateway, values: list[tuple[datetime, float]]) -> None:
    points = [
        {"metric": "queue.length", "resource": {"service.name": SHOP}, "time": at.isoformat(), "value": value}
        for at, value in values
    ]
    held((await collector.posted("/api/v1/telemetry/points", {"points": points}))["rejected"] == [], "points refused")


async def anomaly(story: Story, author: Gateway, collector: Gateway) -> Any:
    signals = (await author.get("/api/v1/signals", service=SHOP, limit=100))["items"]
    for signal in signals:
        if signal["kind"] == "indicator":
            with contextlib.suppress(Refused):  # the detector has not learned yet
                await author.get(f"/api/v1/signals/{signal['id']}/detector")
                await push(collector, [(datetime.now(UTC), 90.0)])
    items = (await author.get("/api/v1/anomalies", requirement_id=story.watched))["items"]
    return items[0] if items else None


async def found_by_search(story: Story, author: Gateway) -> bool:
    requirement = (await author.search("drill keeps its promise 7", service="drill"))["items"]
    told = (await author.search("queue length", kinds=["anomaly"], service=SHOP))["items"]
    return bool(requirement) and [each["entity_id"] for each in told] == [story.anomaly["id"]]


async def back_up(story: Story, stack: Stack, folder: Path, place: Path) -> Path:
    """While writes go on; some come after it, which are lost."""
    async with caller(stack, "editor") as author:
        written = len(story.written)

        async def writing() -> None:
            for number in range(100_000):
                await write(story, author, f"Written meanwhile {number}", service="drill-meanwhile")

        with story.step("plumbline backup, while writes go on") as said:
            task = asyncio.create_task(writing())
            try:
                told = json.loads(await plumbline("backup", place, "--folder", folder, "--output", "json"))
                held(not task.done(), "the writes stopped")
            finally:
                task.cancel()
                await asyncio.wait([task])
            story.manifest = told["manifest"]
            size = sum(dump["bytes"] for dump in story.manifest["dumps"].values())
            said.append(f"{rows_of(story.manifest):,} rows, {size:,} bytes")
            said.append(f"{len(story.written) - written} requirements written meanwhile")
        for number in range(AFTER):
            await write(story, author, f"Written after {number}", service="drill-after")
    return Path(told["folder"])


def rows_of(manifest: dict[str, Any]) -> int:
    dumps = manifest["dumps"].values()
    return sum(table["rows"] for dump in dumps for table in dump["contents"]["tables"].values())


# --- What there is again --------------------------------------------------------------------------------


async def ask(story: Story, stack: Stack, moment: datetime | None) -> None:
    """All that was answered before `moment` is there, and nothing that was asked for after it; None: all is there."""
    async with caller(stack, "editor", "reviewer") as author:
        with story.step("what was there is there, by the gateway") as said:
            now: dict[str, int] = {}
            while len(now) < (page := await author.get(PATH, skip=len(now), limit=100))["total"]:
                now |= {each["id"]: each["revision"] for each in page["items"]}
            for id, (revision, asked, answered) in story.written.items():
                if moment is None or answered < moment:
                    held(now.get(id) == revision, f"requirement {id} is {now.get(id)} instead of {revision}")
                elif asked > moment:
                    held(id not in now, f"requirement {id} was written after the backup, and is there")
            said.append(f"{len(now)} requirements")
            if lost := len(story.written.keys() - now.keys()):
                said.append(f"{lost} were written after the backup's moment and are not there")
            story.written = {id: each for id, each in story.written.items() if id in now}
            again = (await author.get(f"{PATH}/{story.watched}/revisions"))["items"]
            held(again == story.history, "the history of the requirement is another")
            one = await author.get(f"/api/v1/anomalies/{story.anomaly['id']}")
            held(one["onset"] == story.anomaly["onset"], "the anomaly is another")
            page = await author.get("/api/v1/signals", service=SHOP, metric="queue.length", limit=100)
            held(page["total"] > 0, "the signals are gone")
            await until("search finds both", 30, lambda: found_by_search(story, author))
        with story.step("plumbline audit verify, from the head in the manifest"):
            audit = story.manifest["dumps"]["requirements"]["contents"]["audit"]
            head = f"{audit['position']}:{audit['hash']}"
            token = stack.token("reviewer")
            await plumbline("audit", "verify", "--head", head, "--url", stack.urls["gateway"], "--token", token)
        await events_flow(story, stack, author)


async def events_flow(story: Story, stack: Stack, author: Gateway) -> None:
    with story.step("an event is published and consumed; the stream holds the whole log") as said:
        made = await write(story, author, f"The drill goes on {time.time_ns()}", service="drill-goes-on")

        async def indexed() -> bool:
            items = (await author.search(made["title"], service="drill-goes-on", limit=20))["items"]
            return made["id"] in [each["entity_id"] for each in items]

        await until("search learns of a new requirement", 30, indexed)
        ids = await until("the stream holds all", 30, lambda: in_the_stream(stack, made["id"]))
        said.append(f"{len(ids)} requirements told of in the stream")
        now = {each["id"] for each in (await author.get(PATH, limit=100))["items"]}
        held(now <= ids, f"the stream does not tell of {now - ids}")


async def in_the_stream(stack: Stack, newest: str) -> set[str]:
    """The requirements that a subscriber hears of who comes only now; none before it has heard of `newest`."""
    connection = await nats.connect(stack.nats_url("admin"))
    ids: set[str] = set()
    positions: set[int] = set()
    try:
        subscription = await connection.jetstream().subscribe("plumbline.requirements.>", ordered_consumer=True)
        with contextlib.suppress(NatsTimeout):
            while True:
                message = await subscription.next_msg(timeout=2)
                headers = message.headers or {}
                ids.add(headers["ce-subject"])
                positions.add(int(headers["ce-sequence"]))
    finally:
        await connection.close()
    held(positions == set(range(1, max(positions, default=0) + 1)), "positions are missing in the stream")
    return ids if newest in ids else set()


# --- What is lost ---------------------------------------------------------------------------------------


async def drop_schemas(folder: Path) -> None:
    async with postgres_alone(folder) as server:
        connection = await asyncpg.connect(server.asyncpg_dsn())
        for service in SERVICES:
            await connection.execute(f"DROP SCHEMA {service} CASCADE")
        await connection.close()


async def restore(story: Story, backup: Path, folder: Path) -> None:
    with story.step("plumbline restore, verified against the manifest") as said:
        told = json.loads(await plumbline("restore", backup, "--folder", folder, "--output", "json"))
        held(told["manifest"] == story.manifest, "the manifest is another")
        said.append(f"{rows_of(story.manifest):,} rows, each of them compared")


async def play(story: Story, base: Path) -> None:
    folder = base / "stack"
    async with suite(story, folder) as stack:
        await fill(story, stack)
        backup = await back_up(story, stack, folder, base / "backups")
    with story.step("LOST: the three schemas are dropped"):
        await drop_schemas(folder)
    await restore(story, backup, folder)
    written, moment = dict(story.written), datetime.fromisoformat(story.manifest["taken_at"])
    async with suite(story, folder) as stack:
        await ask(story, stack, moment)
    with story.step("LOST: the JetStream store is deleted"):
        forget_events(folder)
    async with suite(story, folder) as stack:
        await ask(story, stack, None)
    story.written = written
    with story.step("LOST: the machine, with secrets and all; another takes its place"):
        await asyncio.to_thread(shutil.rmtree, folder)
    await restore(story, backup, base / "another")
    async with suite(story, base / "another") as stack:
        await ask(story, stack, moment)


def main() -> int:
    console = Console()
    story = Story(console)
    with tempfile.TemporaryDirectory(prefix="plumbline-drill-") as name:
        base = Path(name)
        base.chmod(0o755)  # PostgreSQL's account passes through it
        try:
            asyncio.run(play(story, base))
        except (Failed, Refused, StackError) as error:
            console.print(f"[bold red]✗[/] {escape(str(error))}", soft_wrap=True)
            return 1
        finally:
            console.print(story.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
