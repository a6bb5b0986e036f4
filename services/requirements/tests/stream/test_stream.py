import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from plumbline_common import outbox
from plumbline_common.events import RequirementDeleted, RequirementJudged
from plumbline_requirements.stream.rules import Filter
from plumbline_requirements.stream.service import Streams

REQUIREMENTS = "/api/v1/requirements"
PATH = "/api/v1/events/stream"


async def write(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post(REQUIREMENTS, json={"title": "Checkout answers", **members})
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def change(client: httpx.AsyncClient, requirement: dict[str, Any], **members: Any) -> dict[str, Any]:
    match = {"If-Match": f'"{requirement["revision"]}"'}
    response = await client.patch(f"{REQUIREMENTS}/{requirement['id']}", json=members, headers=match)
    assert response.status_code == 200, response.text
    changed: dict[str, Any] = response.json()
    return changed


async def stage(app: Any, number: int, padding: str = "") -> None:
    """So many deletions in one transaction, as bulk requests make them."""
    rows = [
        outbox.row_of(RequirementDeleted(requirement_id=uuid4(), revision=1, actor=f"a{padding}"))
        for _ in range(number)
    ]
    async with app.state.sessions.begin() as session:
        statement = "INSERT INTO outbox (id, subject, key, data, trace) VALUES (:id, :subject, :key, :data, :trace)"
        await session.execute(text(statement), rows)
        await session.execute(text(f"SELECT {outbox.NOTIFY}"))


async def newest(app: Any) -> int:
    """The last position, once all events have theirs."""
    while True:
        async with app.state.read_sessions() as session:
            row = (await session.execute(text("SELECT max(position), count(*) - count(position) FROM outbox"))).one()
        if not row[1]:
            return int(row[0] or 0)
        await asyncio.sleep(0.05)


def ids(reader: Any) -> list[int]:
    return [event.id for event in reader.events]


async def test_a_change_arrives_as_it_happens(follow: Any, alice: httpx.AsyncClient) -> None:
    reader = await follow()
    assert reader.blocks[0].retry == 2000
    made = await write(alice, title="Two\nlines é \u2028", service="checkout")
    await change(alice, made, priority="must")
    created, updated = await reader.got(2)
    assert (created.name, updated.name) == ("requirements.requirement.created", "requirements.requirement.updated")
    assert updated.id == created.id + 1 == reader.blocks[0].id + 2
    assert created.data["type"] == "plumbline.requirements.requirement.created.v1"
    assert created.data["subject"] == made["id"]
    assert created.data["time"].endswith("Z")
    assert created.data["data"]["requirement"]["title"] == made["title"]
    assert updated.data["data"]["changed"] == ["priority"]
    assert set(updated.data) == {"specversion", "id", "source", "type", "subject", "time", "data"}


async def test_a_change_is_told_without_waiting_for_the_next_look(follow: Any, alice: httpx.AsyncClient) -> None:
    reader = await follow()
    took = []
    for number in range(1, 6):
        await write(alice)
        began = time.monotonic()
        await reader.got(number)
        took.append(time.monotonic() - began)
    assert max(sorted(took)[:4]) < outbox.POLL_SECONDS / 2


async def test_a_stream_carries_what_was_asked_for(follow: Any, alice: httpx.AsyncClient, app: Any) -> None:
    mine = await write(alice, service="checkout", owner_team="payments")
    await newest(app)
    whole, of_service, of_team, of_one, of_types = [
        await follow(),
        await follow(service="checkout"),
        await follow(owner_team="payments"),
        await follow(requirement_id=mine["id"]),
        await follow(type=["requirements.requirement.updated", "requirements.requirement.judged"]),
    ]
    others = await write(alice, service="search")
    mine = await change(alice, mine, title="Checkout answers quickly")
    judged = RequirementJudged(
        requirement_id=UUID(mine["id"]),
        revision=1,
        state="AT_RISK",
        stale=True,
        service="checkout",
        owner_team="payments",
        reason="tested",
        changed_at=datetime.now(UTC),
    )
    async with app.state.sessions.begin() as session:
        await outbox.stage(session, judged)
    for requirement in (mine, others):
        match = {"If-Match": f'"{requirement["revision"]}"'}
        await alice.delete(f"{REQUIREMENTS}/{requirement['id']}", headers=match)
    await whole.got(5)
    verbs = ["created", "updated", "judged", "deleted", "deleted"]
    assert [event.name.rpartition(".")[2] for event in whole.events] == verbs
    position = whole.last_id
    for reader in (of_service, of_team, of_one, of_types):
        async with asyncio.timeout(10):
            while reader.last_id < position:  # by the heartbeat where nothing else tells it
                await asyncio.sleep(0.02)
    assert ids(of_service) == ids(of_team) == ids(whole)[1:], "whose a deleted one was is not known"
    assert ids(of_one) == ids(whole)[1:4]
    assert ids(of_types) == ids(whole)[1:3]


async def test_a_change_that_moves_to_another_service_is_told_where_it_is_in_force(
    follow: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient, app: Any
) -> None:
    made = await write(alice, service="checkout")
    for client, status in ((alice, "in_review"), (rita, "approved"), (alice, "active")):
        made = await change(client, made, status=status)
    await newest(app)
    left, entered = await follow(service="checkout"), await follow(service="search")
    await change(alice, made, service="search")
    assert (await left.got(1))[0].id == (await entered.got(1))[0].id


async def test_silence_is_broken_by_a_comment(follow: Any) -> None:
    reader = await follow()
    await asyncio.sleep(1.5)
    beats = [block for block in reader.blocks if block.comment == "heartbeat"]
    assert 2 <= len(beats) <= 4
    assert reader.events == []


async def test_nothing_is_lost_or_doubled_over_restarts(
    follow: Any, server: Any, alice: httpx.AsyncClient, app: Any
) -> None:
    """The requests go to another process, which writes on while this one is away."""
    first = await newest(app)
    seen: list[int] = []
    writing = True

    async def writer() -> None:
        while writing:
            await write(alice)

    async with asyncio.TaskGroup() as group:
        group.create_task(writer())
        last = None
        for end in (server.stop, server.kill):
            readers = [await follow(last_event_id=last or first) for _ in range(3)]
            await readers[0].got(5)
            began = time.monotonic()
            await end()
            assert time.monotonic() - began < 4
            for reader in readers:
                await reader.end()
                assert reader.whole is (end == server.stop)
            seen += ids(readers[0])
            last = readers[0].last_id
            await server.start()
        writing = False
    reader = await follow(last_event_id=last)
    await reader.got(await newest(app) - last)
    assert seen + ids(reader) == list(range(first + 1, await newest(app) + 1))


async def test_a_stream_without_an_event_resumes_too(follow: Any, app: Any, alice: httpx.AsyncClient) -> None:
    begun = await follow(service="nobody")
    await write(alice)
    resumed = await follow(last_event_id=begun.blocks[0].id)
    [event] = await resumed.got(1)
    assert event.id == begun.blocks[0].id + 1


async def test_a_long_past_is_caught_up_with_while_others_stay_live(
    follow: Any, app: Any, alice: httpx.AsyncClient
) -> None:
    first = await newest(app)
    await stage(app, 4000)
    await newest(app)
    live = await follow()
    behind = [await follow(last_event_id=first, type="requirements.requirement.deleted") for _ in range(2)]
    began = time.monotonic()
    await write(alice)
    await live.got(1)
    assert time.monotonic() - began < 2
    for reader in behind:
        await reader.got(4000, seconds=30)
        assert ids(reader) == list(range(first + 1, first + 4001))
    by_query = await follow(**{"last_event_id": first + 4000})
    assert (await by_query.got(1))[0].id == first + 4001


@pytest.mark.parametrize("asked", [10**9, 10**18 * 9, 0])
async def test_an_id_that_the_log_does_not_know_is_told(
    follow: Any, app: Any, alice: httpx.AsyncClient, asked: int
) -> None:
    await write(alice)
    await write(alice)
    last = await newest(app)
    async with app.state.sessions.begin() as session:
        await session.execute(text("DELETE FROM outbox WHERE position < :last"), {"last": last})
    reader = await follow(last_event_id=asked)
    made = await write(alice)
    reset, created = await reader.got(2)
    assert (reset.name, reset.id) == ("reset", last)
    assert reset.data == {"last_event_id": asked, "oldest": last, "newest": last}
    assert created.data["subject"] == made["id"]
    kept = await follow(last_event_id=last - 1)
    assert (await kept.got(2))[0].id == last


@pytest.mark.parametrize("id", ["", "x", "-1", "1.5", "1 2", "9" * 20, "٣"])
async def test_a_malformed_id_is_named(server: Any, issuer: Any, id: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {issuer.token('viewer')}"}
        for sent in ({"headers": {**headers, "Last-Event-ID": id.encode()}}, {"params": {"last_event_id": id}}):
            response = await client.get(PATH, **{"headers": headers, **sent})
            assert response.status_code == 422
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["errors"][0]["parameter"].lower().replace("-", "_") == "last_event_id"


@pytest.mark.parametrize(
    "query", [{"type": "requirements.requirement.flown"}, {"requirement_id": 1}, {"service": ""}]
)
async def test_a_malformed_filter_is_named(server: Any, issuer: Any, query: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {issuer.token('viewer')}"}
        response = await client.get(PATH, params=query, headers=headers)
        assert response.status_code == 422
        assert response.json()["errors"][0]["parameter"].split(".")[0] in query


async def test_a_stream_is_for_who_may_read(server: Any, issuer: Any) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        assert (await client.get(PATH)).status_code == 401
        headers = {"Authorization": f"Bearer {issuer.token('ingest')}"}
        assert (await client.get(PATH, headers=headers)).status_code == 403


async def test_a_stream_ends_with_its_token(follow: Any, issuer: Any) -> None:
    end = int(time.time()) + 2
    reader = await follow(token=issuer.token("viewer", exp=end))
    await reader.end()
    assert end <= time.time() < end + 2
    assert reader.blocks[-1].comment == "the token has expired"


async def test_there_is_no_place_for_one_too_many(follow: Any, server: Any, issuer: Any) -> None:
    readers = [await follow() for _ in range(6)]
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {issuer.token('viewer')}"}
        for _ in range(2):
            response = await client.get(PATH, headers=headers)
            assert response.status_code == 503
            assert response.json()["type"] == "urn:plumbline:problem:too-many-streams"
            assert int(response.headers["retry-after"]) >= 1
        assert (await client.get(REQUIREMENTS, headers=headers)).status_code == 200
    await readers[0].response.aclose()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(httpx.HTTPStatusError):
                await follow()
                break
            await asyncio.sleep(0.1)


async def test_a_client_that_takes_nothing_is_cut_off_and_holds_up_nobody(
    follow: Any, stalled: Any, app: Any, server: Any
) -> None:
    live = await follow()
    sockets = [await stalled() for _ in range(5)]
    first = await newest(app)
    for _ in range(8):
        await stage(app, 100, "x" * 20_000)
    await live.got(800, seconds=30)
    assert ids(live) == list(range(first + 1, first + 801))
    opened = 0
    async with asyncio.timeout(20):
        while opened < 5:  # until all their places are free
            with contextlib.suppress(httpx.HTTPStatusError):
                await follow()
                opened += 1
            await asyncio.sleep(0.1)
    for each in sockets:
        each.close()


async def test_a_stream_outlives_the_connections_to_the_database(
    follow: Any, app: Any, postgres: Any, alice: httpx.AsyncClient
) -> None:
    reader = await follow()
    await asyncio.sleep(0.5)  # until the log's reader listens
    admin = await asyncpg.connect(postgres.admin_dsn.replace("+asyncpg", ""))
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'requirements'")
    await admin.close()
    async with asyncio.timeout(10):
        while (response := await alice.post(REQUIREMENTS, json={"title": "After a fault"})).status_code != 201:
            assert response.status_code == 503
    [event] = await reader.got(1)
    assert event.data["subject"] == response.json()["id"]
    assert not reader.ended


@pytest.fixture
async def streams(app: Any) -> AsyncIterator[Streams]:
    """Streams that keep the latest fifty events."""
    streams = Streams(app.state.read_sessions, limit=9, heartbeat=9, send_timeout=9, tail=50)
    task = asyncio.create_task(streams.read())
    yield streams
    task.cancel()
    await asyncio.wait([task])


async def test_a_stream_that_falls_behind_the_tail_ends_and_can_be_resumed(streams: Streams, app: Any) -> None:
    first = await newest(app)
    with streams.place():
        slow = streams.follow(await streams.start(None), Filter())
        assert await anext(slow) == f"retry: 2000\nid: {first}\n\n".encode()
        await stage(app, 1)
        assert (await anext(slow)).startswith(f"id: {first + 1}\n".encode())
        await stage(app, 120)
        await newest(app)
        await asyncio.sleep(0.5)
        rest = [chunk async for chunk in slow]
        assert rest == [b": too slow: resume from the last id\n\n"]
        resumed = streams.follow(await streams.start(first + 1), Filter())
        await anext(resumed)
        caught_up = await anext(resumed)
        assert caught_up.count(b"\nevent: ") == 120
        await resumed.aclose()


async def test_the_shutdown_ends_a_stream_at_once(streams: Streams) -> None:
    follow = streams.follow(await streams.start(None), Filter())
    await anext(follow)
    waiting = asyncio.ensure_future(anext(follow))
    ending = asyncio.create_task(streams.end_at_shutdown())
    await asyncio.sleep(0.05)
    streams.shutdown.set()
    async with asyncio.timeout(1):
        assert await waiting == b": the server stops\n\n"
        await ending
    with contextlib.suppress(StopAsyncIteration):
        pytest.fail(str(await anext(follow)))
