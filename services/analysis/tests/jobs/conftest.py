import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import text

from job_kinds import KINDS, begins
from plumbline_analysis.job_worker.worker import JobWorker
from plumbline_analysis.jobs import repository, service
from plumbline_analysis.models import Job
from plumbline_analysis.settings import Settings
from plumbline_common import bus, db, offload
from plumbline_common.auth import UserInfo

ALICE = UserInfo(subject="alice", roles=frozenset({"editor"}), teams=frozenset())


class Inline:
    """In the place of a pool of processes: work that lasts is a task that waits, so nothing has to be killed."""

    async def run_heard(self, heard: Callable[[Any], None], function: Any, run: Any, told: Any) -> Any:
        def report(share: float, message: str) -> None:
            heard((share, message))

        if begins(getattr(told, "reach", None)):
            report(0.5, "half way")
            await asyncio.Event().wait()
        return run(told, report)


class Jobs:
    """The table of jobs, and workers of it."""

    def __init__(
        self, sessions: db.Sessions, reads: db.Sessions, settings: Settings, processes: offload.ProcessPool
    ) -> None:
        self.sessions, self.reads, self.settings, self.processes = sessions, reads, settings, processes

    async def request(self, deadline_seconds: int = 900, kind: str = "told", **told: Any) -> UUID:
        async with self.sessions.begin() as session:
            return (await service.request(session, kind, told, ALICE, deadline_seconds, service="shop")).id

    async def counted(self) -> list[str]:
        """The effects of steps, in their order."""
        async with self.reads() as session:
            rows = await session.scalars(text("SELECT digest FROM log_exports ORDER BY received_at, digest"))
            return [bytes(each).decode() for each in rows]

    async def claim(self, worker: str = "one") -> Job:
        async with self.sessions.begin() as session:
            job = await service.claim(session, worker, KINDS)
        assert job is not None
        return job

    async def cancel(self, id: UUID) -> None:
        async with self.sessions.begin() as session:
            await service.cancel(session, id, ALICE)

    async def one(self, id: UUID) -> Job:
        async with self.reads() as session:
            return await repository.one(session, id)

    async def until(self, id: UUID, *states: str) -> Job:
        async with asyncio.timeout(30):
            while (job := await self.one(id)).state not in states:
                await asyncio.sleep(0.02)
        return job

    async def silence(self, id: UUID) -> None:
        """Let the worker of a job be unheard of for an hour, and somebody notice."""
        async with self.sessions.begin() as session:
            await session.execute(
                text("UPDATE jobs SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = :id"), {"id": id}
            )
        await self.worker().look_after()

    async def events(self) -> list[str]:
        async with self.reads() as session:
            rows = await session.scalars(
                text("SELECT subject FROM outbox WHERE subject LIKE 'analysis.job.%' ORDER BY seq")
            )
            return [subject.removeprefix("analysis.job.").removesuffix(".v1") for subject in rows]

    def worker(self, pool: Any = None, broker: bus.Broker | None = None, **settings: Any) -> JobWorker:
        """Works inline, and without NATS, unless it is given a pool and a broker."""
        return JobWorker(
            self.sessions,
            self.reads,
            self.settings.model_copy(update=settings),
            pool or Inline(),
            broker or bus.Broker("nats://nowhere", "nobody"),
            1,
            KINDS,
        )


@pytest.fixture(scope="session")
async def processes() -> AsyncIterator[offload.ProcessPool]:
    async with offload.ProcessPool(1) as pool:
        yield pool


@pytest.fixture
def jobs(
    sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings, processes: offload.ProcessPool
) -> Jobs:
    quick = settings.model_copy(
        update={"job_heartbeat_seconds": 0.05, "job_poll_seconds": 0.1, "job_stale_seconds": 30, "job_attempts": 3}
    )
    return Jobs(sessions, read_sessions, quick, processes)


@pytest.fixture
async def working() -> AsyncIterator[Callable[[JobWorker], asyncio.Task[None]]]:
    """Has a worker run until the end of the test."""
    running: list[tuple[JobWorker, asyncio.Task[None]]] = []

    def begin(worker: JobWorker) -> asyncio.Task[None]:
        task = asyncio.create_task(worker.run())
        running.append((worker, task))
        return task

    yield begin
    for worker, _ in running:
        worker.stop()
    for _, task in running:
        await asyncio.wait_for(task, 20)


@dataclass
class Spawned:
    """Worker processes as they run in production, all forked by one that has imported what they need."""

    process: Process
    health_file: Path

    async def worker(self, lives_for: str = "ever") -> psutil.Process:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{lives_for} {self.health_file}\n".encode())
        async with asyncio.timeout(30):
            return psutil.Process(int(await self.process.stdout.readline()))


@pytest.fixture
async def spawned(jobs: Jobs, tmp_path: Path) -> AsyncIterator[Spawned]:
    given = jobs.settings.model_dump(mode="json", include=jobs.settings.model_fields_set)
    own = {
        f"PLUMBLINE_ANALYSIS_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).parent / "run_worker.py"),
        env=os.environ | own | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=PIPE,
        stdout=PIPE,
    )
    yield Spawned(process, tmp_path / "health")
    for child in psutil.Process(process.pid).children():
        child.kill()
    process.kill()
    await process.wait()
