"""Jobs: what a second worker adds, what a backtest takes beside the bare engine, what a backfill does to the API.

`python benchmarks/jobs.py [engine] [workers] [api]`: these parts of it. api: `benchmarks/beside.py`.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import beside
import harness
import numpy as np
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from plumbline_analysis.background import Maintenance
from plumbline_analysis.backtests.run import Inputs, Series, Truth, Truths, run
from plumbline_analysis.backtests.schemas import BacktestParameters, DetectorConfig
from plumbline_analysis.detection import batch
from plumbline_analysis.jobs import service
from plumbline_analysis.settings import Settings
from plumbline_common import db
from plumbline_common.auth import UserInfo

POINTS = 1_000_000
ROUNDS = 3
STEP = 10_000_000
DETECTORS = [DetectorConfig(bar=bar, min_relative=0.1) for bar in (0.8, 1.0, 1.5, 2.0)]
DAYS = 14
JOBS = 24


def load(points: int) -> Series:
    """A load with a daily season and noise, every ten seconds; an hour in a hundred it is half as high again."""
    time = 1_790_000_000_000_000 + STEP * np.arange(points, dtype=np.int64)
    value = 100 + 40 * np.sin(np.arange(points) / 8_640 * 2 * np.pi)
    value += 2 * np.random.default_rng(1).normal(size=points)
    value[np.arange(points) // 360 % 100 == 99] *= 1.5
    return Series(int(time[0]), int(time[-1]), STEP, time, value)


def seconds(work: Callable[[], object]) -> float:
    """Of the CPU; of several rounds the quickest counts."""
    work()
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def against_the_engine() -> None:
    series = load(POINTS)
    hours = [series.time[first] for first in range(99 * 360, POINTS, 100 * 360)]
    truths = Truths("windows", [Truth(int(each), int(each) + 360 * STEP, True) for each in hours])
    bare = seconds(lambda: batch.judge(series.time, series.value))
    for metric, detectors, bar in (
        ("backtest_points_per_s", DETECTORS[1:2], 0.5),
        ("backtest_of_4_points_per_s", DETECTORS, None),
    ):
        inputs = Inputs(series, detectors, truths)
        tried = seconds(lambda inputs=inputs: run(inputs, lambda share, message: None))
        harness.row(
            "jobs",
            metric,
            POINTS / tried,
            "1/s",
            against=f"the bare engine, {POINTS / bare:,.0f}/s; one point in a hundred is out",
            ratio=bare / tried,
            bar=bar,
            ok=None if bar is None else bare / tried >= bar,
        )


# --- Workers ----------------------------------------------------------------------------------------------

_SIGNAL = text(
    "INSERT INTO signals (id, identity, source, metric, unit, kind, temporality, monotonic, scope, service, resource,"
    " attributes) VALUES (:id, 'bench', 'push', 'load', '1', 'gauge', 'none', false, '', 'shop', '{}', '{}')"
    " RETURNING number"
)
_POINTS = text(
    "INSERT INTO number_points (signal, start_ts, ts, value)"
    " SELECT :number, timestamptz 'epoch', ts, 100 + 40 * sin(extract(epoch FROM ts) / 13750) + random()"
    " FROM generate_series(CAST(:start AS timestamptz), :end, interval '10 seconds') AS ts"
)
_DONE = text(
    "SELECT count(*) FILTER (WHERE state = 'succeeded') AS done, count(*) AS all,"
    " extract(epoch FROM max(finished_at) - min(started_at)) AS took FROM jobs WHERE created_by = :round"
)


async def against_one_worker() -> None:
    async with harness.servers() as servers:
        await harness.migrate(servers, "analysis")
        environment = servers.environment("analysis")
        settings = Settings(
            **{name.removeprefix("PLUMBLINE_ANALYSIS_").lower(): value for name, value in environment.items()}
        )
        engine = db.create_engine(settings, "bench")
        sessions = async_sessionmaker(engine)
        try:
            parameters = await prepare(sessions, settings)
            (one, spent), (two, _) = [await rate(servers, sessions, parameters, workers) for workers in (1, 2)]
        finally:
            await engine.dispose()
    told = ", ".join(f"{name} {1000 * each:.0f}" for name, each in spent.items())
    bound = min(2.0, (os.cpu_count() or 1) / (one * sum(spent.values())))
    harness.row(
        "jobs",
        "worker_scaling_2",
        two / one,
        "times",
        against=f"one worker, {one:.2f} jobs/s; two {two:.2f}/s; of {os.cpu_count()} CPUs a job of one worker takes"
        f" ms: {told}; so {bound:.2f} times at the most",
        ratio=two / one,
        bar=1.7,
        ok=two / one >= 1.7,
    )


async def prepare(sessions: db.Sessions, settings: Settings) -> BacktestParameters:
    """Two weeks of a gauge, and a backtest of it."""
    now = datetime.now(UTC)
    start, id = now - timedelta(days=DAYS), db.new_id()
    await Maintenance(sessions, settings.model_copy(update={"past_limit_hours": DAYS * 24 + 24})).once()
    async with sessions.begin() as session:
        number = (await session.execute(_SIGNAL, {"id": id})).scalar_one()
    while start < now:
        async with sessions.begin() as session:
            end = min(start + timedelta(days=1), now)
            await session.execute(_POINTS, {"number": number, "start": start, "end": end - timedelta(seconds=1)})
            start = end
    return BacktestParameters(detectors=DETECTORS, signal_id=id, asked_at=now)


async def rate(
    servers: harness.Servers, sessions: db.Sessions, parameters: BacktestParameters, workers: int
) -> tuple[float, dict[str, float]]:
    """Jobs a second that so many workers of one process each do, and the seconds of processors that a job takes."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(workers):
            health = servers.folder / f"{workers}-{number}.health"
            command = (sys.executable, "-m", "plumbline_analysis.job_worker", "--processes", "1")
            await stack.enter_async_context(
                harness.process(
                    *command,
                    "--health-file",
                    str(health),
                    environment=servers.environment("analysis"),
                    log=servers.folder / "worker.log",
                )
            )
            while not await asyncio.to_thread(Path.exists, health):
                await asyncio.sleep(0.1)
        await performed(sessions, parameters, f"warm {workers}", 4 * workers)
        before = spent()
        rate = JOBS / await performed(sessions, parameters, f"{workers} workers", JOBS)
        return rate, {name: (seconds - before[name]) / JOBS for name, seconds in spent().items()}


def spent() -> dict[str, float]:
    """The seconds of processors that PostgreSQL, the workers and their processes have taken so far."""
    found = {"PostgreSQL": 0.0, "worker": 0.0, "its process": 0.0}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            command, times = " ".join(child.cmdline()), child.cpu_times()
            if child.name() == "postgres":
                found["PostgreSQL"] += times.user + times.system
            elif "plumbline_analysis.job_worker" in command:
                found["worker"] += times.user + times.system
            elif "multiprocessing" in command:
                found["its process"] += times.user + times.system
    return found


async def performed(sessions: db.Sessions, parameters: BacktestParameters, name: str, jobs: int) -> float:
    """The seconds from the first claim to the last result. `name` is who asks: a round is known by it."""
    harness.say(f"{jobs} jobs: {name}")
    asker, asked = UserInfo(name, frozenset({"operator"}), frozenset()), parameters.model_dump(mode="json")
    async with sessions.begin() as session:
        for _ in range(jobs):
            await service.request(session, "backtest", asked, asker, 3600, service="shop")
    while True:
        await asyncio.sleep(0.5)
        async with sessions() as session:
            row = (await session.execute(_DONE, {"round": name})).one()
        if row.done == jobs:
            return float(row.took)


async def main() -> None:
    asked = sys.argv[1:] or ["engine", "workers", "api"]
    if "engine" in asked:
        against_the_engine()
    if "workers" in asked:
        await against_one_worker()
    if "api" in asked:
        await beside.measure()


if __name__ == "__main__":
    asyncio.run(main())
