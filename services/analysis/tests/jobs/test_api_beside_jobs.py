"""The API's event loop while a worker does jobs of all kinds, each in a process of its own as in production."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from plumbline_analysis.kinds import KINDS
from plumbline_stack import ports

POINTS = text(
    "INSERT INTO number_points (signal, start_ts, ts, value) SELECT number, timestamptz 'epoch', ts, 100 + random()"
    " FROM signals, generate_series(CAST(:start AS timestamptz), :end, interval '2 seconds') AS ts"
    " WHERE metric = 'load'"
)
CALLERS = 4


class Beside:
    """The API, and who calls it meanwhile."""

    def __init__(self, client: httpx.AsyncClient, world: Any) -> None:
        self.client, self.world, self.answered = client, world, 0

    async def get(self, path: str, **query: Any) -> Any:
        return (await self.client.get(path, params=query)).raise_for_status().json()

    async def post(self, path: str, content: Any) -> Any:
        return (await self.client.post(path, json=content)).raise_for_status().json()

    async def send(self, *metrics: str, value: float) -> None:
        common = {"value": value, "time": datetime.now(UTC).isoformat(), "resource": {"service.name": "shop"}}
        await self.post("/api/v1/telemetry/points", {"points": [{"metric": metric} | common for metric in metrics]})

    async def call(self, signal: str) -> None:
        """Send points and read what people look at, again and again."""
        start, end = self.world.now - timedelta(hours=3), self.world.now
        for number in itertools.count():
            await self.send(*(f"load.{place}" for place in range(100)), value=number)
            await self.get("/api/v1/signals", limit=100)
            await self.get(f"/api/v1/signals/{signal}/series", **{"from": start.isoformat(), "to": end.isoformat()})
            await self.get("/api/v1/anomalies")
            await self.get("/api/v1/jobs")
            self.answered += 5

    async def followed(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job at its end, by its stream."""
        told = job
        async with self.client.stream("GET", f"/api/v1/jobs/{job['id']}/events", timeout=60) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    told = json.loads(line.removeprefix("data: "))
        return told


@contextlib.asynccontextmanager
async def process(world: Any, *command: str, **more: str) -> AsyncIterator[Process]:
    settings = world.settings
    given = settings.model_dump(mode="json", include=settings.model_fields_set | set(more))
    own = {name: value if isinstance(value, str) else json.dumps(value) for name, value in (given | more).items()}
    environment = {f"PLUMBLINE_ANALYSIS_{name.upper()}": value for name, value in own.items()}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=os.environ | environment | paths, stdout=PIPE
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await asyncio.wait_for(child.wait(), 30)


@pytest.fixture
async def beside(world: Any, issuer: Any) -> AsyncIterator[Beside]:
    port = ports.choose()
    async with (
        process(world, str(Path(__file__).parent / "run_api.py"), str(port)) as api,
        process(world, "-m", "plumbline_analysis.job_worker", "--processes", "1", job_poll_seconds="0.2"),
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {issuer.token('operator')}"},
            timeout=30,
            trust_env=False,
        ) as client,
    ):
        assert api.stdout is not None
        async with asyncio.timeout(60):
            while await api.stdout.readline() != b"ready\n":
                assert api.returncode is None
        yield Beside(client, world)


@pytest.fixture
async def history(world: Any, log_world: Any) -> None:
    """A requirement with its detector, a day of a load every two seconds, an hour of logs."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    await world.evaluator.release()
    await log_world.minutes(60, evaluate=False)


async def jobs_of_all_kinds(beside: Beside) -> list[dict[str, Any]]:
    world = beside.world
    await beside.send("load", value=1)
    end = world.now - timedelta(minutes=1)
    async with world.sessions.begin() as session:
        await session.execute(POINTS, {"start": end - timedelta(hours=20), "end": end})
    listed = (await beside.get("/api/v1/signals"))["items"]
    load = next(each["id"] for each in listed if each["metric"] == "load")
    indicator = next(each["id"] for each in listed if each["kind"] == "indicator")
    times = {"start": (world.now - timedelta(hours=21)).isoformat(), "end": world.now.isoformat()}
    asked = {
        "backtest": (f"/api/v1/signals/{load}/backtests", {"detectors": [{"bar": 1.0}, {"bar": 0.8}]} | times),
        "what_if": ("/api/v1/what-if", {"slo": world.latency_slo()} | times),
        "backfill": ("/api/v1/services/backfills", {"service": "shop"}),
        "retune": (f"/api/v1/signals/{indicator}/detector/retunes", {}),
        "log_mining": ("/api/v1/log-templates/mining", {"service": "shop"}),
    }
    assert set(asked) == set(KINDS)
    return [await beside.post(path, content) for path, content in asked.values()]


@pytest.mark.long
async def test_the_api_does_not_block_while_jobs_of_all_kinds_run(history: None, beside: Beside) -> None:
    jobs = await jobs_of_all_kinds(beside)
    signal = jobs[0]["signal_id"]
    callers = [asyncio.create_task(beside.call(signal)) for _ in range(CALLERS)]
    ended = await asyncio.gather(*map(beside.followed, jobs))
    for caller in callers:
        assert not caller.done() or caller.result()
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert [(job["kind"], job["state"], job.get("failure")) for job in ended] == [
        (kind, "succeeded", None) for kind in ("backtest", "what_if", "backfill", "retune", "log_mining")
    ]
    assert beside.answered > 0
    assert await beside.get("/blocks") == []

    # The same reading, of an API that does block.
    (await beside.client.post("/blocks")).raise_for_status()
    async with asyncio.timeout(10):
        while not (blocks := await beside.get("/blocks")):
            await asyncio.sleep(0.05)
    assert "run_api.py" in blocks[0]
