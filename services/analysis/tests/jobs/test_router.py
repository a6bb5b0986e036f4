import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from plumbline_analysis.jobs import service
from plumbline_analysis.jobs.following import Following
from plumbline_analysis.jobs.repository import Claim
from plumbline_analysis.jobs.rules import Progress
from plumbline_common import sse
from plumbline_common.auth import UserInfo
from plumbline_common.schemas import JobSnapshot

JOBS = "/api/v1/jobs"
WHAT_IF = "/api/v1/what-if"
BOB = UserInfo("bob", frozenset({"editor"}), frozenset())


@pytest.fixture
def editor(caller: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return caller("editor")


@pytest.fixture
def asked(world: Any) -> dict[str, Any]:
    return {"slo": world.latency_slo()}


async def test_a_job_is_accepted_and_read_where_the_answer_says(
    app: Any, editor: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    response = await editor.post(WHAT_IF, json=asked | {"service": "shop", "deadline_seconds": 60})
    job = response.json()
    assert (response.status_code, job["state"], job["kind"], job["service"]) == (202, "queued", "what_if", "shop")
    found = await editor.get(response.headers["location"])
    assert (found.status_code, found.headers["etag"]) == (200, '"1"')
    assert found.json()["result"] is None
    assert found.json()["parameters"]["slo"]["name"] == "latency"
    assert {name: found.json()[name] for name in job} == job


async def test_a_job_that_is_asked_for_twice_with_one_key_is_one(
    app: Any, editor: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    first, again = [await editor.post(WHAT_IF, json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert (await editor.get(JOBS)).json()["total"] == 1


async def test_jobs_are_listed_the_newest_first_by_state_and_kind(
    jobs: Any, app: Any, viewer: httpx.AsyncClient
) -> None:
    ids = [str(await jobs.request()) for _ in range(3)]
    await jobs.cancel(UUID(ids[0]))
    listed = (await viewer.get(JOBS, params={"limit": 2})).json()
    assert ([each["id"] for each in listed["items"]], listed["total"]) == ([ids[2], ids[1]], 3)
    assert [each["id"] for each in (await viewer.get(JOBS, params={"skip": 2})).json()["items"]] == [ids[0]]
    cancelled = (await viewer.get(JOBS, params={"state": "cancelled", "kind": "told"})).json()
    assert [each["id"] for each in cancelled["items"]] == [ids[0]]
    assert (await viewer.get(JOBS, params={"kind": "backtest"})).json() == {"items": [], "total": 0}


async def test_who_asked_or_is_on_call_cancels_and_only_what_is_not_over(
    app: Any, caller: Callable[..., httpx.AsyncClient], editor: httpx.AsyncClient, jobs: Any
) -> None:
    id = await jobs.request()  # alice's, as all tokens of the tests are
    again = [await editor.post(f"{JOBS}/{id}/cancel") for _ in range(2)]
    assert [response.status_code for response in again] == [200, 200]
    assert again[0].json() == again[1].json()
    assert again[0].json()["state"] == "cancelled"
    async with jobs.sessions.begin() as session:
        others = await service.request(session, "told", {}, BOB, 60)
    refused = await editor.post(f"{JOBS}/{others.id}/cancel")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:plumbline:problem:not-your-job")
    assert (await caller("operator").post(f"{JOBS}/{others.id}/cancel")).status_code == 200
    done = await jobs.request()
    claimed = await jobs.claim()
    async with jobs.sessions.begin() as session:
        await service.succeed(session, Claim(done, claimed.token), {})
    late = (await editor.post(f"{JOBS}/{done}/cancel")).json()
    assert (late["status"], late["type"], late["legal"]) == (409, "urn:plumbline:problem:illegal-transition", [])
    assert (await editor.post(f"{JOBS}/{UUID(int=1)}/cancel")).status_code == 404


# --- Streams ----------------------------------------------------------------------------------------------


@pytest.fixture
async def following(jobs: Any) -> AsyncIterator[Following]:
    following = Following(jobs.reads, 2)
    reading = asyncio.create_task(following.read())
    yield following
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


def parsed(frame: bytes) -> tuple[int, str, dict[str, Any]]:
    id, event, data = (line.partition(": ")[2] for line in frame.decode().strip().split("\n"))
    return int(id), event, json.loads(data)


async def test_a_stream_tells_each_change_up_to_the_end_of_the_job(jobs: Any, following: Following) -> None:
    id = await jobs.request()
    stream = following.follow(await following.look_up(id), 0)
    assert await anext(stream) == b"retry: 2000\nid: 0\n\n"
    assert parsed(await anext(stream))[:2] == (1, "queued")
    claimed = await jobs.claim()
    assert parsed(await anext(stream))[:2] == (2, "running")
    claim = Claim(id, claimed.token)
    async with jobs.sessions.begin() as session:
        await service.beat(session, claim, Progress(0.4, "at it"), Progress())
    revision, event, job = parsed(await anext(stream))
    assert (revision, event, job["progress"], job["message"]) == (3, "running", 0.4, "at it")
    async with jobs.sessions.begin() as session:
        await service.succeed(session, claim, {"answer": 42})
    assert parsed(await anext(stream))[:2] == (4, "succeeded")
    assert [frame async for frame in stream] == []


async def test_a_stream_that_resumes_tells_only_what_is_newer(jobs: Any, following: Following) -> None:
    id = await jobs.request()
    await jobs.claim()
    stream = following.follow(await following.look_up(id), 1)
    assert await anext(stream) == b"retry: 2000\nid: 1\n\n"
    assert parsed(await anext(stream))[:2] == (2, "running")
    resumed = following.follow(await following.look_up(id), 2)
    await anext(resumed)
    await jobs.cancel(id)
    assert parsed(await anext(resumed))[:2] == (3, "cancelled")
    assert parsed(await anext(stream))[:2] == (3, "cancelled")


async def test_a_stream_of_a_job_that_is_over_ends_at_once_and_is_not_asked_for_again(
    app: Any, viewer: httpx.AsyncClient, jobs: Any
) -> None:
    id = await jobs.request()
    await jobs.cancel(id)
    response = await viewer.get(f"{JOBS}/{id}/events", headers={"Last-Event-ID": "1"})
    assert response.headers["content-type"].startswith("text/event-stream")
    _, frame, *_ = response.content.split(b"\n\n")
    revision, event, job = parsed(frame)
    assert (revision, event) == (2, "cancelled")
    assert JobSnapshot.model_validate(job).id == id
    again = await viewer.get(f"{JOBS}/{id}/events", headers={"Last-Event-ID": "2"})
    assert (again.status_code, again.content) == (204, b"")
    assert (await viewer.get(f"{JOBS}/{UUID(int=1)}/events")).status_code == 404


async def test_streams_have_places(jobs: Any, following: Following) -> None:
    with (
        following.place(),
        following.place(),
        pytest.raises(sse.TooManyStreams, match="2 streams of jobs are open"),
        following.place(),
    ):
        pass


async def test_streams_end_when_the_server_stops_and_with_their_token(jobs: Any, following: Following) -> None:
    job = await following.look_up(await jobs.request())
    assert len([frame async for frame in following.follow(job, 0, expires_at=0)]) == 2
    ending = asyncio.create_task(following.end_at_shutdown())
    stream = following.follow(job, 1)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    following.shutdown.set()
    assert await waiting is None
    await ending
