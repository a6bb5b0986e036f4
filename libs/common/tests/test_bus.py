import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

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


async def test_what_died_is_done_when_it_is_asked_for_again_and_only_once(
    engine: Any, sessions: Any, broker: Any, consumer: Any, done: Any, stage: Any, deleted: Any, until: Any,
    monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05,))
    handler, effects = done
    healthy = False

    async def fails_at_first(received: Received[RequirementDeleted]) -> None:
        if received.data.revision == 2 and not healthy:
            raise ValueError("not today")
        await handler(received)

    running_consumer = consumer(fails_at_first)
    async with running(engine, broker, running_consumer):
        await stage(*(deleted(revision) for revision in (1, 2, 3)))
        await until(lambda: dead_letters(broker))
        await until(lambda: caught_up(broker, 3))
        async with sessions.begin() as session:
            # What is behind the dead one is settled, and the dead one is remembered.
            assert await inbox.gaps(session, "tests", "requirements", 0) == []
        healthy = True
        standing = await running_consumer.repair("requirements")
        assert (standing.reached, standing.missing, standing.dead) == (3, 0, 1)
        await until(lambda: sorted(effects) == [1, 2, 3])
        assert (await running_consumer.repair("requirements")).dead == 0
        await broker.nc.publish("plumbline.replay.requirements", b'{"first": 1, "last": 3}')
        await until(lambda: caught_up(broker, 7))
    assert sorted(effects) == [1, 2, 3]


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


async def test_an_event_that_commits_while_gaps_are_looked_for_is_not_passed_over(sessions: Any) -> None:
    def at(position: int) -> Received[Any]:
        data = RequirementDeleted(requirement_id=UUID(int=1), revision=1, actor="alice")
        return Received(UUID(int=position), "requirements", position, datetime.now(UTC), data)

    async def done(position: int) -> bool:
        async with sessions.begin() as session:
            return await inbox.first_time(session, at(position), "tests")

    async def looked(oldest: int = 1) -> list[inbox.Gap]:
        async with sessions.begin() as session:
            return await inbox.gaps(session, "tests", "requirements", 0, oldest)

    for position in (1, 2, 3, 5):
        assert await done(position)
    assert await looked() == [inbox.Gap(4, 4)]
    assert await done(4)
    assert await looked() == []
    assert not await done(4)
    # What the log has no more is given up, and what comes after it counts on.
    assert await done(20)
    assert await looked() == [inbox.Gap(6, 19)]
    assert await looked(oldest=18) == [inbox.Gap(18, 19)]
    assert await done(18)
    assert not await done(17)


async def test_a_time_without_a_zone_is_a_dead_letter(
    engine: Any, broker: Any, consumer: Any, done: Any, until: Any, deleted: Any
) -> None:
    async with running(engine, broker, consumer(done[0])):
        await until(lambda: stream_is_there(broker))
        headers = {"ce-id": str(UUID(int=7)), "ce-sequence": "1", "ce-time": "2026-01-01T00:00:00"}
        await broker.js.publish(
            "plumbline.requirements.requirement.deleted.v1", deleted().model_dump_json().encode(), headers=headers
        )
        await until(lambda: dead_letters(broker))
        await until(lambda: progressed(engine, 1))
    [letter] = await dead_letters(broker)
    assert "zone" in letter.headers["plumbline-dlq-reason"]


async def stream_is_there(broker: bus.Broker) -> bool:
    try:
        await broker.js.stream_info("REQUIREMENTS")
    except NotFoundError:
        return False
    return True


async def test_a_client_that_gave_up_for_good_is_made_anew(
    engine: Any, settings: Any, consumer: Any, done: Any, stage: Any, deleted: Any, until: Any, broker: Any
) -> None:
    mine = bus.Broker(settings.nats_url, "tests")
    staying = asyncio.create_task(mine.stay_connected())
    try:
        await mine.connected()
        first = mine.nc
        await first.close()
        await until(lambda: mine.is_connected and mine.nc is not first)
        handler, effects = done
        async with running(engine, mine, consumer(handler)):
            await stage(deleted(2))
            await until(lambda: effects == [2])
    finally:
        await mine.close()
        staying.cancel()
        await asyncio.wait({staying})
