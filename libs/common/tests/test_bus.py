import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from nats.js.errors import NotFoundError
from sqlalchemy import text

from plumbline_common import bus, inbox, outbox
from plumbline_common.events import Received, RequirementDeleted


@contextlib.asynccontextmanager
async def running(engine: Any, broker: bus.Broker, consumer: bus.Consumer) -> AsyncIterator[None]:
    relay = asyncio.create_task(outbox.Relay(engine, broker, "requirements").run())
    consuming = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consumer.stop()
        await asyncio.wait_for(consuming, 10)
        while not relay.done():
            relay.cancel()
            await asyncio.wait({relay}, timeout=1)


@pytest.fixture
def consumer(broker: bus.Broker, sessions: Any) -> Callable[..., bus.Consumer]:
    def make(handler: Any) -> bus.Consumer:
        return bus.Consumer(broker, sessions, bus.Subscription("tests", {RequirementDeleted: handler}, 4))

    return make


@pytest.fixture
def done(sessions: Any) -> Any:
    """A handler with an effect that can be counted, and its list of effects."""
    effects: list[int] = []

    async def handler(received: Received[RequirementDeleted]) -> None:
        async with sessions.begin() as session:
            if await inbox.first_time(session, received, "tests"):
                effects.append(received.data.revision)

    return handler, effects


async def dead_letters(broker: bus.Broker) -> list[Any]:
    try:
        state = (await broker.js.stream_info("DLQ")).state
    except NotFoundError:
        return []
    return [await broker.js.get_msg("DLQ", seq) for seq in range(max(state.first_seq, 1), state.last_seq + 1)]


async def test_a_double_has_no_second_effect(
    engine: Any, broker: Any, consumer: Any, done: Any, stage: Any, deleted: Any, until: Any
) -> None:
    handler, effects = done
    async with running(engine, broker, consumer(handler)):
        await stage(*(deleted(revision) for revision in range(1, 6)))
        await until(lambda: len(effects) == 5)
        # The same events again, with ids that the server takes for new ones.
        for position in (1, 2, 3, 4, 5):
            await broker.nc.publish(
                "plumbline.replay.requirements", f'{{"first": {position}, "last": {position}}}'.encode()
            )
        await until(lambda: caught_up(broker, 10))
    assert sorted(effects) == [1, 2, 3, 4, 5]


async def caught_up(broker: bus.Broker, delivered: int) -> bool:
    info = await broker.js.consumer_info("REQUIREMENTS", "tests")
    return bool(info.ack_floor and info.ack_floor.stream_seq >= delivered)


async def test_a_failing_handler_is_tried_again(
    engine: Any, broker: Any, consumer: Any, stage: Any, deleted: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05, 0.05))
    tries = []

    async def handler(received: Received[RequirementDeleted]) -> None:
        tries.append(received.id)
        if len(tries) < 3:
            raise ValueError("not yet")

    async with running(engine, broker, consumer(handler)):
        await stage(deleted())
        await until(lambda: len(tries) == 3)
        await until(lambda: caught_up(broker, 1))
    assert await dead_letters(broker) == []


async def test_after_the_last_try_the_event_is_kept_with_the_reason(
    engine: Any, broker: Any, consumer: Any, stage: Any, deleted: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05, 0.05))

    async def handler(received: Received[RequirementDeleted]) -> None:
        raise ValueError("this one is poison")

    event = deleted()
    async with running(engine, broker, consumer(handler)):
        await stage(event)
        await until(lambda: dead_letters(broker))
    [letter] = await dead_letters(broker)
    assert letter.subject == "plumbline.dlq.tests.requirements.requirement.deleted.v1"
    assert letter.headers["plumbline-dlq-reason"] == "ValueError: this one is poison"
    assert letter.headers["plumbline-dlq-tries"] == "3"
    assert letter.data == event.model_dump_json().encode()


async def test_a_message_that_is_no_event_goes_to_the_dead_letters_at_once(
    engine: Any, broker: Any, consumer: Any, done: Any, until: Any
) -> None:
    async with running(engine, broker, consumer(done[0])):
        await broker.ensure_streams(["requirements"])
        await broker.js.publish("plumbline.requirements.requirement.deleted.v1", b"\xff not an event")
        await until(lambda: dead_letters(broker))
    [letter] = await dead_letters(broker)
    assert letter.headers["plumbline-dlq-reason"].startswith("not a readable event")


async def test_an_event_that_cannot_be_read_is_buried_once_and_leaves_no_gap(
    engine: Any, broker: Any, consumer: Any, done: Any, stage: Any, deleted: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bus, "GAP_GRACE", 0.1)
    monkeypatch.setattr(bus, "GAP_CHECK_SECONDS", 0.1)
    handler, effects = done
    await stage(deleted(1), deleted(2), deleted(3))
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE outbox SET data = replace(data, :whole, :broken)"),
            {"whole": '"revision":2', "broken": '"revision":"two"'},
        )
    async with running(engine, broker, consumer(handler)):
        await until(lambda: progressed(engine, 3))
        await asyncio.sleep(0.5)
    assert sorted(effects) == [1, 3]
    [letter] = await dead_letters(broker)
    assert "revision" in letter.headers["plumbline-dlq-reason"]


async def test_a_database_that_is_away_kills_no_event(
    engine: Any, broker: Any, consumer: Any, stage: Any, deleted: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.01,))
    tries = []

    async def handler(received: Received[RequirementDeleted]) -> None:
        tries.append(received.id)
        if len(tries) < 4:
            raise ConnectionRefusedError

    async with running(engine, broker, consumer(handler)):
        await stage(deleted())
        await until(lambda: len(tries) == 4)
        await until(lambda: caught_up(broker, 1))
    assert await dead_letters(broker) == []


async def test_what_never_arrived_is_asked_for_and_done(
    engine: Any, broker: Any, consumer: Any, done: Any, stage: Any, deleted: Any, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bus, "GAP_GRACE", 0.1)
    monkeypatch.setattr(bus, "GAP_CHECK_SECONDS", 0.1)
    handler, effects = done
    await broker.ensure_streams(["requirements"])
    relay = outbox.Relay(engine, broker, "requirements")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO outbox_producer (name) VALUES ('requirements')"))
    await stage(*(deleted(revision) for revision in range(1, 6)))
    await relay.publish_next()
    for lost in (2, 3):
        await broker.js.delete_msg("REQUIREMENTS", lost)
    async with running(engine, broker, consumer(handler)):
        await until(lambda: sorted(effects) == [1, 2, 3, 4, 5])
        await until(lambda: progressed(engine, 5))
    assert len(effects) == 5


async def progressed(engine: Any, position: int) -> bool:
    async with engine.connect() as connection:
        reached = await connection.scalar(text("SELECT position FROM inbox_progress WHERE consumer = 'tests'"))
    return bool(reached == position)


async def test_stopping_finishes_what_is_in_hand(
    engine: Any, broker: Any, consumer: Any, stage: Any, deleted: Any, until: Any
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(received: Received[RequirementDeleted]) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        ended.set()

    async with running(engine, broker, consumer(handler)):
        await stage(deleted())
        await asyncio.wait_for(begun.wait(), 10)
    assert ended.is_set()
