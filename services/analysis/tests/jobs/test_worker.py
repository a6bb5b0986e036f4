"""What workers promise: no job is lost, and none has an effect twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from nats.js.errors import NotFoundError

from plumbline_analysis.job_worker.worker import CONSUMER
from plumbline_analysis.jobs import service
from plumbline_analysis.jobs.repository import Claim
from plumbline_analysis.jobs.rules import Progress
from plumbline_common import bus

Working = Callable[[Any], asyncio.Task[None]]


async def reached(file: Path) -> int:
    """The process that wrote the file."""
    async with asyncio.timeout(30):
        while not file.exists():
            await asyncio.sleep(0.02)
    return int(file.read_text())


async def gone(pid: int) -> bool:
    async with asyncio.timeout(20):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)
    return True


async def test_a_job_is_done_in_a_process_and_told_of(jobs: Any, working: Working) -> None:
    id = await jobs.request()
    working(jobs.worker(jobs.processes))
    job = await jobs.until(id, "succeeded")
    assert (job.result, job.progress, job.attempts) == ({"answer": 42}, 1.0, 1)
    events = await jobs.events()
    assert (events[:2], events[-1]) == (["requested", "started"], "completed")


async def test_the_trace_of_the_request_goes_on(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = "00-000000000000000000000000000012ab-00000000000034cd-01"
    monkeypatch.setattr("plumbline_common.telemetry.inject", lambda context=None: {"traceparent": carried})
    await jobs.request()
    assert (await jobs.claim()).trace == {"traceparent": carried}


async def test_progress_is_told_while_it_lasts(jobs: Any, working: Working, tmp_path: Path) -> None:
    id = await jobs.request(reach=str(tmp_path / "begun"))
    working(jobs.worker())
    async with asyncio.timeout(10):
        while (job := await jobs.one(id)).progress != 0.5:
            await asyncio.sleep(0.02)
    assert job.message == "half way"
    assert await jobs.events() == ["requested", "started", "progressed"]


async def test_what_a_kind_refuses_is_the_reason_of_the_failure(jobs: Any, working: Working) -> None:
    id = await jobs.request(do="fail")
    working(jobs.worker(jobs.processes))
    job = await jobs.until(id, "failed")
    assert job.failure == {
        "type": "urn:plumbline:problem:not-found",
        "title": "There is no such thing",
        "detail": "no signal has the id 7",
    }
    assert job.attempts == 1


async def test_an_error_that_nobody_foresaw_fails_without_internals(
    jobs: Any, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    id = await jobs.request(do="break")
    working(jobs.worker())
    job = await jobs.until(id, "failed")
    assert job.failure["type"] == "urn:plumbline:problem:internal-error"
    assert "ZeroDivisionError" in job.failure["detail"]
    assert "secret" not in job.failure["detail"]
    assert "secret" in caplog.text


async def test_a_process_that_dies_costs_an_attempt_and_the_last_attempt_fails_the_job(
    jobs: Any, working: Working
) -> None:
    id = await jobs.request(do="die")
    working(jobs.worker(jobs.processes, job_attempts=1))
    job = await jobs.until(id, "failed")
    assert job.failure["type"] == "urn:plumbline:problem:workers-lost"
    assert "exit code 9" in job.failure["detail"]


async def test_two_workers_do_a_job_once(jobs: Any, working: Working) -> None:
    ids = [await jobs.request() for _ in range(6)]
    for _ in range(2):
        working(jobs.worker())
    for id in ids:
        assert (await jobs.until(id, "succeeded")).token == 1
    assert (await jobs.events()).count("started") == 6


async def test_a_worker_that_was_thought_dead_writes_nothing(jobs: Any) -> None:
    id = await jobs.request()
    first = await jobs.claim("first")
    await jobs.silence(id)
    second = await jobs.claim("second")
    stale = Claim(id, first.token)
    async with jobs.sessions.begin() as session:
        assert await service.beat(session, stale, Progress(0.9, "late"), Progress()) is None
        assert not await service.succeed(session, stale, {"answer": 0})
        await service.hand_back(session, stale)
        await service.give_up(session, stale, 1, "late")
    after = await jobs.one(id)
    assert (after.state, after.worker, after.progress, after.result) == ("running", "second", 0.0, None)
    for written in (True, False):
        async with jobs.sessions.begin() as session:
            ended = await service.succeed(session, Claim(id, second.token), {"answer": 42})
            assert (ended is not None) is written
    assert (await jobs.one(id)).result == {"answer": 42}
    assert (await jobs.events()).count("completed") == 1


async def test_a_cancelled_job_ends_its_process(jobs: Any, working: Working, tmp_path: Path) -> None:
    id = await jobs.request(reach=str(tmp_path / "begun"))
    working(jobs.worker(jobs.processes))
    process = await reached(tmp_path / "begun")
    await jobs.cancel(id)
    assert await gone(process)
    job = await jobs.one(id)
    assert (job.state, job.result) == ("cancelled", None)
    assert (await jobs.events())[-1] == "cancelled"


async def test_a_job_over_its_deadline_is_ended(jobs: Any, working: Working, tmp_path: Path) -> None:
    id = await jobs.request(1, reach=str(tmp_path / "begun"))
    working(jobs.worker())
    job = await jobs.until(id, "timed_out")
    assert job.failure["type"] == "urn:plumbline:problem:deadline-passed"
    assert (await jobs.events())[-1] == "failed"


async def test_a_job_that_nobody_took_on_in_time_is_ended(jobs: Any) -> None:
    id = await jobs.request(0)
    await jobs.worker().look_after()
    assert (await jobs.one(id)).state == "timed_out"


async def test_a_worker_that_stops_hands_its_job_back_and_it_costs_no_attempt(
    jobs: Any, working: Working, tmp_path: Path
) -> None:
    id = await jobs.request(reach=str(tmp_path / "begun"))
    worker = jobs.worker()
    task = working(worker)
    await reached(tmp_path / "begun")
    worker.stop()
    await asyncio.wait_for(task, 10)
    job = await jobs.one(id)
    assert (job.state, job.attempts) == ("queued", 0)
    assert (await jobs.claim("another")).attempts == 1


async def test_a_lost_worker_s_job_is_tried_again_at_most_so_often(jobs: Any) -> None:
    id = await jobs.request()
    for attempt in (1, 2, 3):
        assert (await jobs.claim()).attempts == attempt
        await jobs.silence(id)
    job = await jobs.one(id)
    assert (job.state, job.failure["type"]) == ("failed", "urn:plumbline:problem:workers-lost")
    assert "was not heard of" in job.failure["detail"]


async def test_jobs_of_a_kind_that_a_worker_does_not_know_are_left_to_others(jobs: Any) -> None:
    id = await jobs.request()
    async with jobs.sessions.begin() as session:
        assert await service.claim(session, "an older one", {"backtest"}) is None
    assert (await jobs.one(id)).state == "queued"


async def test_a_job_survives_the_end_of_its_worker_at_each_stage(jobs: Any, spawned: Any, tmp_path: Path) -> None:
    """Stopped in order, killed -9 while it reads, while its process works, and once the result is written."""
    id = await jobs.request(gathering=str(tmp_path / "reading"), reach=str(tmp_path / "working"))

    stopped = await spawned.worker()
    await reached(tmp_path / "reading")
    stopped.terminate()
    assert await gone(stopped.pid)
    job = await jobs.one(id)
    assert (job.state, job.attempts, spawned.health_file.exists()) == ("queued", 0, True)

    (tmp_path / "reading").unlink()
    reading = await spawned.worker()
    await reached(tmp_path / "reading")
    await killed(reading, jobs, id)

    working = await spawned.worker()
    process = await reached(tmp_path / "working")
    await killed(working, jobs, id)
    assert await gone(process)

    written = await spawned.worker("a-result")
    await jobs.until(id, "succeeded")
    assert await gone(written.pid)
    await jobs.silence(id)
    job = await jobs.one(id)
    assert (job.state, job.attempts, job.result) == ("succeeded", 3, {"answer": 42})
    assert (await jobs.events()).count("completed") == 1


async def test_the_steps_of_a_job_have_their_effects_once_whenever_its_worker_is_killed(
    jobs: Any, spawned: Any, tmp_path: Path
) -> None:
    """While a step is stored, while the next is worked at; each worker goes on after the last step that is stored."""
    id = await jobs.request(
        kind="counted", steps=4, storing=str(tmp_path / "storing"), reach=str(tmp_path / "working")
    )
    storing = await spawned.worker()
    await reached(tmp_path / "storing")
    await killed(storing, jobs, id)
    assert await jobs.counted() == ["step 0"]
    # How far it is may be told a moment before that is stored.
    assert (await jobs.one(id)).progress in (0.25, 0.5)

    working = await spawned.worker()
    await reached(tmp_path / "working")
    assert await jobs.counted() == ["step 0", "step 1"]
    await killed(working, jobs, id)

    await spawned.worker()
    job = await jobs.until(id, "succeeded")
    assert (job.result, job.attempts, job.token) == ({"steps": 4}, 1, 3)
    assert await jobs.counted() == [f"step {number}" for number in range(4)]
    assert (await jobs.events()).count("completed") == 1


async def test_a_step_that_a_worker_lost_meanwhile_is_not_stored(jobs: Any) -> None:
    id = await jobs.request(kind="counted", steps=2)
    first = await jobs.claim("first")
    await jobs.silence(id)
    second = await jobs.claim("second")
    async with jobs.sessions.begin() as session:
        assert await service.keep(session, Claim(id, first.token), Progress(0.5, "late"), b"1") is None
        assert await service.keep(session, Claim(id, second.token), Progress(0.5, "counts"), b"1") is not None
    await jobs.worker().attempt(second)
    assert (await jobs.one(id)).result == {"steps": 2}
    assert await jobs.counted() == ["step 1"]


async def killed(worker: psutil.Process, jobs: Any, id: UUID) -> None:
    """Kill the worker of a job, and let that be noticed."""
    worker.kill()
    assert await gone(worker.pid)
    assert (await jobs.one(id)).state == "running"
    await jobs.silence(id)
    assert (await jobs.one(id)).state == "queued"


async def test_a_call_wakes_a_worker_and_the_loss_of_all_calls_loses_no_job(
    jobs: Any, app: Any, nats_server: Any, working: Working
) -> None:
    broker = bus.Broker(nats_server.url("analysis"), "worker of the tests")
    connecting = asyncio.create_task(broker.stay_connected())
    await broker.connected()
    try:
        called = jobs.worker(broker=broker, job_poll_seconds=60.0)
        working(called)
        async with asyncio.timeout(30):
            while not await waits(broker):
                await asyncio.sleep(0.05)
        id = await jobs.request()
        await jobs.until(id, "succeeded")
        called.stop()
        waiting = await jobs.request()
        await nats_server.wipe_jetstream()
        working(jobs.worker())
        await jobs.until(waiting, "succeeded")
    finally:
        await broker.close()
        connecting.cancel()


async def waits(broker: bus.Broker) -> bool:
    """Whether a worker waits for calls."""
    try:
        info = await broker.js.consumer_info("ANALYSIS", CONSUMER)
    except NotFoundError:
        return False
    return bool(info.num_waiting)
