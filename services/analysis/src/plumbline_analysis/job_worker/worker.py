"""A worker: claims jobs, has them done, writes down what came of them.

Jobs stand in the table; JetStream only says that there is work. A job is claimed in one transaction and ended in
another, both of which begin and end here. What lies between is repeated by another worker where this one is lost.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.jobs import performing, repository, rules, service
from plumbline_analysis.jobs.kind import AnyKind, Step, Stepwise
from plumbline_analysis.jobs.repository import Claim
from plumbline_analysis.jobs.rules import Progress
from plumbline_analysis.models import Job
from plumbline_analysis.settings import Settings
from plumbline_common import bus, db, instruments, offload, telemetry
from plumbline_common.errors import PlumblineError
from plumbline_common.events import JobRequested
from plumbline_common.schemas import JobFailure, JobState

log = logging.getLogger(__name__)

CONSUMER = "analysis-jobs"
"""The durable that all workers share."""
_RETRY_SECONDS = 1.0
_FORGET_SECONDS = 600.0


_duration = instruments.histogram(
    "plumbline.job.duration",
    "s",
    "From the claim of a job to the end of the attempt",
    {"plumbline.job.kind": "the kinds of [jobs](jobs.md)", "plumbline.job.state": JobState},
)
_jobs = instruments.gauge(
    "plumbline.jobs",
    "{job}",
    "Jobs that wait or run",
    {"plumbline.job.state": ("queued", "running")},
)
_age = instruments.gauge("plumbline.job.queue.age", "s", "How long the first of those that wait has waited")


@dataclass(frozen=True)
class Succeeded:
    result: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    state: JobState
    failure: JobFailure


@dataclass(frozen=True)
class LeftOff:
    """An attempt that came to nothing, though another may not."""

    reason: str


@dataclass(frozen=True)
class HandedBack:
    """The worker stops."""


@dataclass(frozen=True)
class Lost:
    """The job is another's, or over."""


@dataclass(frozen=True)
class Stored:
    """The last step of the work has written the result."""


Outcome = Succeeded | Failed | LeftOff | HandedBack | Lost | Stored


@dataclass
class _Attempt:
    """What one worker does with one job. `progress` is what the process said last, `told` what is known of it."""

    job: Job
    kind: AnyKind
    progress: Progress = field(default_factory=Progress)
    told: Progress = field(default_factory=Progress)

    @property
    def claim(self) -> Claim:
        return Claim(self.job.id, self.job.token)

    @property
    def allowed(self) -> float:
        """Seconds from the claim to the deadline, both by the clock of the database."""
        claimed = self.job.heartbeat_at or self.job.deadline_at
        return max(0.0, (self.job.deadline_at - claimed).total_seconds())

    def heard(self, said: tuple[float, str]) -> None:
        self.progress = Progress(*said)


class JobWorker:
    """Has up to `processes` jobs done at a time, each in a process of the pool."""

    def __init__(
        self,
        sessions: db.Sessions,
        read_sessions: db.Sessions,
        settings: Settings,
        pool: offload.ProcessPool,
        broker: bus.Broker,
        processes: int,
        kinds: Mapping[str, AnyKind],
        health_file: Path | None = None,
    ) -> None:
        self._sessions = sessions
        self._read_sessions = read_sessions
        self._settings = settings
        self._pool = pool
        self._broker = broker
        self._processes = processes
        self._kinds = kinds
        self._health_file = health_file
        self._stopping = asyncio.Event()
        self._stale = timedelta(seconds=settings.job_stale_seconds)
        self.name = f"{socket.gethostname()}/{db.new_id()}"

    async def run(self) -> None:
        """Work until `stop`; what is not done by then is handed back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self.look_after, self._settings.job_poll_seconds))
            group.create_task(self._again(self._forget, _FORGET_SECONDS))
            for _ in range(self._processes):
                calls = bus.Calls(self._broker, CONSUMER, JobRequested)
                group.create_task(self._again(functools.partial(self._next, calls), 0.0))

    def stop(self) -> None:
        self._stopping.set()

    async def _again(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Do it every so often until the worker stops; what fails is reported and done again."""
        while not self._stopping.is_set():
            wait = seconds
            try:
                await work()
            except Exception as error:
                log.warning("%s failed and is tried again: %r", getattr(work, "__name__", work), error)
                wait = max(seconds, _RETRY_SECONDS)
            if wait:
                await self._unless_stopping(asyncio.sleep(wait))

    async def _unless_stopping(self, work: Awaitable[None]) -> None:
        """Wait for it, or for the order to stop."""
        tasks = [asyncio.ensure_future(work), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(*tasks)

    async def look_after(self) -> None:
        """See to jobs whose worker is lost, show the queue, and say that this worker lives."""
        while True:
            async with self._sessions.begin() as session:
                found = await service.recover(session, self._stale, self._settings.job_attempts)
            if found < repository.BATCH:
                break
        async with self._read_sessions() as session:
            queue = await repository.queue(session)
        _jobs.set(queue.queued, {"plumbline.job.state": JobState.QUEUED.value})
        _jobs.set(queue.running, {"plumbline.job.state": JobState.RUNNING.value})
        _age.set(queue.age)
        if self._health_file is not None:
            await offload.in_thread(self._health_file.touch)

    async def _forget(self) -> None:
        before = datetime.now(UTC) - timedelta(days=self._settings.job_retention_days)
        async with self._sessions.begin() as session:
            await repository.forget(session, before)

    # --- One job ------------------------------------------------------------------------------------------

    async def _next(self, calls: bus.Calls) -> None:
        """Do the job that has waited longest, or wait until there is one."""
        async with self._sessions.begin() as session:
            job = await service.claim(session, self.name, self._kinds)
        if job is None:
            await self._unless_stopping(calls.heard(self._settings.job_poll_seconds))
        else:
            await self.attempt(job)

    async def attempt(self, job: Job) -> None:
        """Do a job that was claimed, and write down what came of it."""
        began = time.monotonic()
        with self._span(job) as span:
            outcome = await self._outcome(_Attempt(job, self._kinds[job.kind]))
            state = await self._write(Claim(job.id, job.token), outcome)
            span.set_attribute("plumbline.job.state", state)
            if isinstance(outcome, Failed):
                span.set_status(StatusCode.ERROR, outcome.failure.detail)
            _duration.record(time.monotonic() - began, {"plumbline.job.kind": job.kind, "plumbline.job.state": state})

    async def _outcome(self, attempt: _Attempt) -> Outcome:
        """What comes first: the end of the work, the loss of the job, the deadline, or the order to stop."""
        work = asyncio.create_task(self._work(attempt))
        watch = asyncio.create_task(self._watch(attempt))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait(
                {work, watch, stop}, timeout=attempt.allowed, return_when=asyncio.FIRST_COMPLETED
            )
            if work in done:
                return work.result()
            if watch in done:
                return Lost()
            if stop in done:
                return HandedBack()
            return Failed(JobState.TIMED_OUT, rules.overdue(attempt.job.deadline_at))
        finally:
            # To cancel the work is to kill its process.
            await _ended(work, watch, stop)

    async def _work(self, attempt: _Attempt) -> Outcome:
        try:
            parameters = attempt.kind.parameters.model_validate(attempt.job.parameters)
            if isinstance(attempt.kind, Stepwise):
                return await self._steps(attempt, attempt.kind, parameters)
            async with self._read_sessions() as session:
                inputs = await attempt.kind.gather(session, parameters, self._settings)
            return Succeeded(await self._pool.run_heard(attempt.heard, performing.perform, attempt.kind.run, inputs))
        except Exception as error:
            if isinstance(error, offload.WorkerDied) or db.is_transient(error):
                log.warning("job %s is left off: %r", attempt.job.id, error)
                return LeftOff(str(error) or type(error).__name__)
            if isinstance(error, PlumblineError):
                return Failed(JobState.FAILED, rules.failure(error))
            log.exception("job %s met an error that nobody foresaw", attempt.job.id)
            trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
            unforeseen = rules.Defective(
                f"{type(error).__name__}; the worker's log has it under the trace {trace_id}"
            )
            return Failed(JobState.FAILED, rules.failure(unforeseen))

    async def _steps(self, attempt: _Attempt, kind: Stepwise[Any, Any, Any], parameters: Any) -> Outcome:
        """One step after the other, from where the last attempt came to. Each is stored before the next begins."""
        async with self._read_sessions() as session:
            checkpoint = await repository.checkpoint(session, attempt.job.id)
        while True:
            async with self._read_sessions() as session:
                inputs = await kind.gather(session, parameters, checkpoint, self._settings)
            step = await self._pool.run_heard(attempt.heard, performing.perform, kind.run, inputs)
            attempt.heard((step.share, step.message))
            if not await self._store(attempt, kind, step):
                return Lost()
            if step.result is not None:
                return Stored()
            checkpoint = step.checkpoint

    async def _store(self, attempt: _Attempt, kind: Stepwise[Any, Any, Any], step: Step[Any]) -> bool:
        """Write what a step found, with its checkpoint or the result. False where the job is this worker's no more.

        It is not tried again: whether a transaction that failed at its commit was committed is only known to the
        attempt that reads the checkpoint anew.
        """
        async with self._sessions.begin() as session:
            if step.result is None:
                job = await service.keep(session, attempt.claim, attempt.progress, step.checkpoint)
            else:
                job = await service.succeed(session, attempt.claim, step.result)
            if job is not None:
                await kind.store(session, job, step.found)
            return job is not None

    async def _watch(self, attempt: _Attempt) -> None:
        """Say that the worker lives, and how far the job is, until it is lost."""
        while True:
            await asyncio.sleep(self._settings.job_heartbeat_seconds)
            try:
                async with self._sessions.begin() as session:
                    told = await service.beat(session, attempt.claim, attempt.progress, attempt.told)
            except Exception as error:
                log.warning("job %s could not be told to go on: %r", attempt.job.id, error)
                continue
            if told is None:
                log.info("job %s is no longer this worker's", attempt.job.id)
                return
            attempt.told = told

    async def _write(self, claim: Claim, outcome: Outcome) -> str:
        """Write it down, for as long as the job is this worker's. The state that the job is then in, for it."""
        until = time.monotonic() + self._settings.job_stale_seconds
        while True:
            try:
                async with self._sessions.begin() as session:
                    return await self._written(session, claim, outcome)
            except Exception as error:
                if not db.is_transient(error) or time.monotonic() > until:
                    raise
                log.warning("what came of job %s is not written yet: %r", claim.id, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _written(self, session: AsyncSession, claim: Claim, outcome: Outcome) -> str:
        match outcome:
            case Succeeded(result):
                return JobState.SUCCEEDED.value if await service.succeed(session, claim, result) else "lost"
            case Failed(state, failure):
                return state.value if await service.fail(session, claim, state, failure) else "lost"
            case LeftOff(reason):
                await service.give_up(session, claim, self._settings.job_attempts, reason)
                return "left_off"
            case HandedBack():
                await service.hand_back(session, claim)
                return "handed_back"
            case Lost():
                return "lost"
            case Stored():
                return JobState.SUCCEEDED.value

    @contextlib.contextmanager
    def _span(self, job: Job) -> Any:
        """Goes on with the trace of the request."""
        with telemetry.tracer.start_as_current_span(
            f"perform {job.kind}",
            context=telemetry.extract(job.trace),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "plumbline.job.id": str(job.id),
                "plumbline.job.kind": job.kind,
                "plumbline.job.attempt": job.attempts,
            },
        ) as span:
            telemetry.remember_span()
            found: Span = span
            yield found


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
