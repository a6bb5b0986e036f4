"""What the callers of the API notice of a backfill: the tail of ordinary requests beside it, and without it.

One uvicorn worker of the API, one worker of jobs with one process, PostgreSQL and the caller on the same machine. The
caller sends 40 requests a second at fixed times: one in four 100 points, the others what people read. A latency is
that from the time at which the request was due. Windows without and with a backfill take turns; before the first
the worker has done a backfill, so that its process is warm. The backfill judges two weeks again and again, a slice
every 10 s, of the indicators of four gauges.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import harness
import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from plumbline_analysis.background import Maintenance
from plumbline_analysis.settings import Settings
from plumbline_analysis.watched import service as watched
from plumbline_common import db
from plumbline_common.schemas import RequirementSnapshot

SIGNALS = 4
DAYS = 14
A_SECOND = 40
SECONDS = 15
ROUNDS = 3
BAR = 2.0
APP = "plumbline_analysis.main:create_app"

_SIGNAL = text(
    "INSERT INTO signals (id, identity, source, metric, unit, kind, temporality, monotonic, scope, service, resource,"
    " attributes) VALUES (gen_random_uuid(), decode(md5(:metric), 'hex'), 'push', :metric, '1', 'gauge', 'none',"
    " false, '', 'shop', '{}', '{\"service.name\": \"shop\"}')"
)
_POINTS = text(
    "INSERT INTO number_points (signal, start_ts, ts, value)"
    " SELECT number, timestamptz 'epoch', ts, 100 + 40 * sin(extract(epoch FROM ts) / 13750) + random()"
    " FROM signals, generate_series(CAST(:start AS timestamptz), :end, interval '10 seconds') AS ts"
    " WHERE kind = 'gauge'"
)


def requirement(number: int, now: datetime) -> RequirementSnapshot:
    """Wants a gauge to be below 1,000."""
    query = {"metric": f"load.{number}", "attributes": {"service.name": "shop"}, "aggregation": "mean"}
    objective = {
        "name": "load",
        "indicator": {"thresholdMetric": {"metricSource": {"spec": query}}},
        "timeWindow": [{"duration": "1h"}],
        "objectives": [{"op": "lte", "value": 1_000, "target": 0.9}],
    }
    texts = dict.fromkeys(("description", "statement", "rationale", "verification_method"), "")
    given = {"title": "The shop is not overloaded", "type": "capacity", "priority": "must", "fingerprint": "f"}
    owned = {"owner_team": "shop", "service": "shop", "labels": {}, "status": "active"}
    noted = {"created_at": now, "created_by": "bench", "updated_at": now, "updated_by": "bench"}
    keyed = {"id": UUID(int=number + 1), "key": f"REQ-{number}", "revision": 1, "slos": [objective]}
    return RequirementSnapshot.model_validate(texts | given | owned | noted | keyed)


async def fill(sessions: db.Sessions, settings: Settings) -> None:
    now = datetime.now(UTC)
    start = now - timedelta(days=DAYS)
    await Maintenance(sessions, settings.model_copy(update={"past_limit_hours": DAYS * 24 + 24})).once()
    async with sessions.begin() as session:
        for number in range(SIGNALS):
            await session.execute(_SIGNAL, {"metric": f"load.{number}"})
            await watched.keep(session, requirement(number, now))
    while start < now:
        end = min(start + timedelta(days=1), now)
        async with sessions.begin() as session:
            await session.execute(_POINTS, {"start": start, "end": end - timedelta(seconds=1)})
        start = end


async def indicators(client: httpx.AsyncClient) -> list[str]:
    """Once the evaluation has begun to watch them."""
    async with asyncio.timeout(60):
        while True:
            listed = (await client.get("/api/v1/signals", params={"limit": 100})).raise_for_status().json()["items"]
            found = [each["id"] for each in listed if each["kind"] == "indicator"]
            if len(found) == SIGNALS:
                return found
            await asyncio.sleep(0.5)


# --- The caller -------------------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, number: int, signal: str) -> None:
    match number % 4:
        case 0:
            common = {"value": number, "time": datetime.now(UTC).isoformat(), "resource": {"service.name": "shop"}}
            points = [{"metric": f"sent.{place}"} | common for place in range(100)]
            reply = await client.post("/api/v1/telemetry/points", json={"points": points})
        case 1:
            reply = await client.get(f"/api/v1/signals/{signal}/series")
        case 2:
            reply = await client.get("/api/v1/anomalies")
        case _:
            reply = await client.get("/api/v1/signals", params={"limit": 50})
    reply.raise_for_status()


async def latencies(client: httpx.AsyncClient, signal: str) -> list[float]:
    """In ms, of requests at fixed times, whether or not those before are answered."""
    began, found = time.monotonic(), []

    async def timed(number: int) -> None:
        due = began + number / A_SECOND
        await asyncio.sleep(due - time.monotonic())
        await ask(client, number, signal)
        found.append(1000 * (time.monotonic() - due))

    async with asyncio.TaskGroup() as group:
        for number in range(A_SECOND * SECONDS):
            group.create_task(timed(number))
    return found


def quantile(found: list[float], share: float) -> float:
    return sorted(found)[int(len(found) * share)]


# --- The backfill -----------------------------------------------------------------------------------------


async def backfilled(client: httpx.AsyncClient) -> dict[str, Any]:
    job = (await client.post("/api/v1/services/backfills", json={"service": "shop"})).raise_for_status().json()
    while job["state"] in ("queued", "running"):
        await asyncio.sleep(0.5)
        job = (await client.get(f"/api/v1/jobs/{job['id']}")).raise_for_status().json()
    if job["state"] != "succeeded":
        raise RuntimeError(f"the backfill {job['state']}: {job['failure']}")
    return dict(job["result"])


@contextlib.asynccontextmanager
async def backfilling(client: httpx.AsyncClient, sessions: db.Sessions) -> AsyncIterator[list[int]]:
    """One backfill after the other, each of all the history; the slices that they scored."""
    scored: list[int] = []

    async def work() -> None:
        while True:
            async with sessions.begin() as session:
                await session.execute(text("DELETE FROM detections"))
            scored.append((await backfilled(client))["scored"])

    task = asyncio.create_task(work())
    try:
        yield scored
    finally:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        listed = (await client.get("/api/v1/jobs", params={"limit": 100})).raise_for_status().json()["items"]
        for job in listed:
            if job["state"] in ("queued", "running"):
                await client.post(f"/api/v1/jobs/{job['id']}/cancel")


async def measure() -> None:
    async with harness.servers() as servers:
        await harness.migrate(servers, "analysis")
        environment = servers.environment("analysis")
        settings = Settings(
            **{name.removeprefix("PLUMBLINE_ANALYSIS_").lower(): value for name, value in environment.items()}
        )
        engine = db.create_engine(settings, "bench")
        sessions = async_sessionmaker(engine)
        await fill(sessions, settings)
        worker = (sys.executable, "-m", "plumbline_analysis.job_worker", "--processes", "1")
        headers = {"Authorization": f"Bearer {servers.issuer.token('operator')}"}
        async with (
            harness.uvicorn(APP, environment, servers.folder) as url,
            harness.process(*worker, environment=environment, log=servers.folder / "worker.log"),
            httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client,
        ):
            signal = (await indicators(client))[0]
            harness.say("a first backfill")
            began = time.monotonic()
            first = await backfilled(client)
            harness.say(f"{first['scored']:,} slices in {time.monotonic() - began:.1f} s")
            idle: list[float] = []
            beside: list[float] = []
            for number in range(ROUNDS):
                harness.say(f"round {number + 1} of {ROUNDS}")
                idle += await latencies(client, signal)
                async with backfilling(client, sessions):
                    beside += await latencies(client, signal)
        await engine.dispose()
    alone, together = quantile(idle, 0.99), quantile(beside, 0.99)
    median = f"medians {quantile(idle, 0.5):.1f} and {quantile(beside, 0.5):.1f} ms"
    harness.row(
        "jobs",
        "api_p99_during_backfill_ratio",
        together / alone,
        "times",
        against=f"{alone:.1f} ms without it, {together:.1f} ms with it; {median}; {os.cpu_count()} CPUs for all",
        ratio=together / alone,
        bar=BAR,
        ok=together / alone <= BAR,
    )
