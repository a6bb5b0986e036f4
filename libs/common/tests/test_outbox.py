import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from nats.js.errors import NotFoundError
from sqlalchemy import text

from plumbline_common import bus, outbox, telemetry
from plumbline_common.errors import TooLarge
from plumbline_common.events import RequirementDeleted

SUBJECT = "plumbline.requirements.requirement.deleted.v1"


@contextlib.asynccontextmanager
async def relaying(*relays: outbox.Relay) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        while any(not task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)


async def stored(broker: bus.Broker) -> list[Any]:
    """Every message of the stream, in its order."""
    try:
        state = (await broker.js.stream_info("REQUIREMENTS")).state
    except NotFoundError:
        return []
    return [await broker.js.get_msg("REQUIREMENTS", seq) for seq in range(state.first_seq, state.last_seq + 1)]


async def amount(broker: bus.Broker) -> int:
    try:
        return int((await broker.js.stream_info("REQUIREMENTS")).state.messages)
    except NotFoundError:
        return 0


@pytest.fixture
def relay(engine: Any, broker: bus.Broker) -> outbox.Relay:
    return outbox.Relay(engine, broker, "requirements")


async def test_a_staged_event_arrives_as_a_cloud_event(
    relay: Any, broker: Any, stage: Any, deleted: Any, until: Any
) -> None:
    event = deleted()
    async with relaying(relay):
        await stage(event)
        await until(lambda: amount(broker))
    [message] = await stored(broker)
    headers = message.headers
    assert message.subject == SUBJECT == headers["ce-type"]
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-source"] == "/plumbline/requirements"
    assert headers["ce-subject"] == str(event.requirement_id)
    assert headers["ce-sequence"] == "1"
    assert headers["content-type"] == "application/json"
    assert headers[bus.MESSAGE_ID] == headers["ce-id"]
    assert json.loads(message.data) == event.model_dump(mode="json")


async def test_who_follows_the_positions_hears_of_them(relay: Any, engine: Any, stage: Any, deleted: Any) -> None:
    heard = asyncio.Event()
    async with (
        relaying(relay),
        engine.connect() as connection,
        outbox.listening(connection, outbox.SEQUENCED, heard) as driver,
    ):
        await stage(deleted())
        async with asyncio.timeout(5):
            await heard.wait()
        outbox.check_listening(driver)
        heard.clear()
        async with engine.begin() as other:
            pid = driver.get_server_pid()
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        async with asyncio.timeout(5):
            await heard.wait()
        with pytest.raises(ConnectionError):
            outbox.check_listening(driver)


async def test_an_event_of_a_rolled_back_transaction_never_leaves(
    relay: Any, broker: Any, sessions: Any, stage: Any, deleted: Any, until: Any
) -> None:
    async with relaying(relay):
        with pytest.raises(RuntimeError):
            async with sessions.begin() as session:
                await outbox.stage(session, deleted())
                raise RuntimeError("the caller failed")
        kept = deleted()
        await stage(kept)
        await until(lambda: amount(broker))
    [message] = await stored(broker)
    assert message.headers["ce-subject"] == str(kept.requirement_id)
    assert message.headers["ce-sequence"] == "1"


async def test_several_relays_publish_each_event_once_in_order_without_a_gap(
    engine: Any, broker: Any, stage: Any, deleted: Any, until: Any
) -> None:
    relays = [outbox.Relay(engine, broker, "requirements") for _ in range(3)]
    async with relaying(*relays):
        await asyncio.gather(*(stage(*(deleted() for _ in range(20))) for _ in range(20)))
        await until(lambda: reached(broker, 400))
    positions = [int(message.headers["ce-sequence"]) for message in await stored(broker)]
    assert positions == list(range(1, 401))


async def reached(broker: bus.Broker, wanted: int) -> bool:
    return await amount(broker) >= wanted


async def test_what_a_lost_stream_held_is_published_again(
    relay: Any, broker: Any, stage: Any, deleted: Any, until: Any
) -> None:
    async with relaying(relay):
        await stage(*(deleted() for _ in range(5)))
        await until(lambda: reached(broker, 5))
        await broker.js.delete_stream("REQUIREMENTS")
        await relay.reconcile()
        await stage(deleted())
        await until(lambda: reached(broker, 6))
    assert [message.headers["ce-sequence"] for message in await stored(broker)] == [
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
    ]


async def test_the_end_that_a_restored_stream_lacks_is_published_again(
    relay: Any, broker: Any, stage: Any, deleted: Any, until: Any
) -> None:
    async with relaying(relay):
        await stage(*(deleted() for _ in range(5)))
        await until(lambda: reached(broker, 5))
        for seq in (4, 5):
            await broker.js.delete_msg("REQUIREMENTS", seq)
        await relay.reconcile()
        await until(lambda: reached(broker, 5))
    state = (await broker.js.stream_info("REQUIREMENTS")).state
    ends = [await broker.js.get_msg("REQUIREMENTS", state.last_seq - back) for back in (1, 0)]
    assert [message.headers["ce-sequence"] for message in ends] == ["4", "5"]


async def test_a_crash_between_publishing_and_recording_makes_no_double(
    relay: Any, broker: Any, engine: Any, stage: Any, deleted: Any
) -> None:
    await broker.ensure_streams(["requirements"])
    await stage(deleted(), deleted())
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO outbox_producer (name) VALUES ('requirements')"))
    await relay.publish_next()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE outbox_producer SET published = 0"))
    # The row that a crash left behind, and one that was committed since with an earlier place in the log.
    await stage(deleted())
    assert await relay.publish_next() == 2
    assert await relay.publish_next() == 1
    assert [message.headers["ce-sequence"] for message in await stored(broker)] == ["1", "2", "3"]


async def test_an_event_that_nats_would_not_take_is_refused_when_it_is_staged(stage: Any) -> None:
    with pytest.raises(TooLarge):
        await stage(RequirementDeleted(requirement_id=uuid4(), revision=1, actor="a" * outbox.LARGEST))


async def test_what_has_passed_its_time_in_the_stream_is_not_published_again(
    engine: Any, broker: Any, stage: Any, deleted: Any
) -> None:
    await broker.ensure_streams(["requirements"])
    relay = outbox.Relay(engine, broker, "requirements")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO outbox_producer (name) VALUES ('requirements')"))
    await stage(deleted(1), deleted(2))
    await relay.publish_next()
    await broker.js.purge_stream("REQUIREMENTS")
    await relay.reconcile()
    assert await relay.publish_next() == 0
    await broker.js.delete_stream("REQUIREMENTS")
    await relay.reconcile()
    assert await relay.publish_next() == 2


async def test_a_relay_that_no_longer_leads_tells_of_no_events_that_wait(
    relay: Any, stage: Any, deleted: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(telemetry.outbox_age, "set", lambda value, attributes: told.append(value))

    async def nothing() -> int:
        return 0

    monkeypatch.setattr(relay, "publish_next", nothing)
    await stage(deleted())
    async with relaying(relay):
        await until(lambda: told and told[-1] > 0)
    assert told[-1] == 0
