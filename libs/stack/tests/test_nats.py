import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import BadRequestError, NotFoundError

from plumbline_stack.layout import SERVICES
from plumbline_stack.testing import RunningNats


@contextlib.asynccontextmanager
async def connected(server: RunningNats, user: str) -> AsyncIterator[tuple[Client, asyncio.Queue[str]]]:
    """A client of `user`, and what the server refuses it."""
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        refused.put_nowait(str(error))

    client = await nats.connect(server.url(user), error_cb=note, inbox_prefix=f"_INBOX_{user}")
    try:
        yield client, refused
    finally:
        await client.close()


TAKES = {"requirements": ("analysis",), "search": ("requirements", "analysis"), "analysis": ("requirements",)}


@pytest.fixture
async def streams(nats_server: RunningNats) -> None:
    """Those of all producers, as each makes its own."""
    for service in SERVICES:
        async with connected(nats_server, service) as (client, refused):
            for stream, subjects in ((service.upper(), f"plumbline.{service}.>"), ("DLQ", "plumbline.dlq.>")):
                with contextlib.suppress(BadRequestError):  # it is there
                    await client.jetstream().add_stream(name=stream, subjects=[subjects])
            assert refused.empty()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_does_all_of_its_work(nats_server: RunningNats, streams: None, service: str) -> None:
    async with connected(nats_server, service) as (client, refused):
        stream = client.jetstream()
        sent = await stream.publish(f"plumbline.{service}.thing.made.v1", b"{}")
        assert (await stream.get_msg(service.upper(), sent.seq)).data == b"{}"
        assert (await stream.stream_info(service.upper())).state.messages
        asked = await client.subscribe(f"plumbline.replay.{service}", queue="plumbline")
        for producer in TAKES[service]:
            async with connected(nats_server, producer) as (other, _):
                await other.jetstream().publish(f"plumbline.{producer}.thing.made.v1", b"{}")
                await other.publish(f"plumbline.{producer}.thing.made.v1", b"{}")
            await consumed(stream, producer, service, f"plumbline.{producer}.>")
            await client.publish(f"plumbline.replay.{producer}", b"{}")
            await stream.publish(f"plumbline.dlq.{service}.{producer}.thing.made.v1", b"{}")
        if service == "analysis":
            await consumed(stream, service, "analysis-jobs", "plumbline.analysis.thing.made.v1")
        await client.flush()
        assert refused.empty()
        await asked.unsubscribe()


async def consumed(stream: JetStreamContext, producer: str, consumer: str, filter_subject: str) -> None:
    config = ConsumerConfig(durable_name=consumer, filter_subject=filter_subject, ack_policy=AckPolicy.EXPLICIT)
    await stream.add_consumer(producer.upper(), config)
    assert (await stream.consumer_info(producer.upper(), consumer)).name == consumer
    mine = await stream.pull_subscribe_bind(durable=consumer, stream=producer.upper())
    [message] = await mine.fetch(1, timeout=5)
    await message.ack_sync()


@pytest.mark.parametrize(("service", "other"), list(itertools.permutations(SERVICES, 2)))
async def test_a_service_is_refused_what_is_anothers(
    nats_server: RunningNats, streams: None, service: str, other: str
) -> None:
    subjects = [
        f"plumbline.{other}.thing.made.v1",
        f"plumbline.dlq.{other}.thing",
        f"$JS.API.STREAM.CREATE.{other.upper()}",
        f"$JS.API.STREAM.DELETE.{other.upper()}",
        f"$JS.API.STREAM.MSG.GET.{other.upper()}",
        f"$JS.API.CONSUMER.CREATE.{other.upper()}.mine",
        f"$JS.API.CONSUMER.DELETE.{other.upper()}.{service}",
        f"_INBOX_{other}.abc",
    ]
    async with connected(nats_server, service) as (client, refused):
        for subject in subjects:
            await client.publish(subject, b"{}")
        for subject in (listened := (f"plumbline.{other}.>", f"plumbline.replay.{other}", f"_INBOX_{other}.>")):
            await client.subscribe(subject)
        missing = {f'"{subject.lower()}"' for subject in (*subjects, *listened)}
        async with asyncio.timeout(10):
            while missing:
                told = (await refused.get()).lower()
                missing = {subject for subject in missing if subject not in told}


@pytest.mark.parametrize(
    "subject",
    [
        "plumbline.requirements.requirement.created.v1",
        "plumbline.dlq.analysis.requirements.requirement.created.v1",
        "plumbline.replay.search",
        "$JS.API.STREAM.DELETE.SEARCH",
        "$JS.API.STREAM.DELETE.REQUIREMENTS",
        "$JS.API.STREAM.PURGE.REQUIREMENTS",
        "$JS.API.STREAM.UPDATE.REQUIREMENTS",
        "$JS.API.STREAM.CREATE.REQUIREMENTS",
        "$JS.API.STREAM.MSG.GET.DLQ",
        "$JS.API.STREAM.MSG.DELETE.DLQ",
        "$JS.API.CONSUMER.DELETE.REQUIREMENTS.search",
        "$JS.API.CONSUMER.MSG.NEXT.REQUIREMENTS.analysis",
        "$JS.ACK.REQUIREMENTS.analysis.1.1.1.1.0",
        "_INBOX_requirements.abc",
    ],
)
async def test_a_service_may_not_speak_for_another_or_destroy(nats_server: RunningNats, subject: str) -> None:
    async with connected(nats_server, "search") as (client, refused):
        await client.publish("plumbline.search.document.indexed.v1", b"{}")
        await client.publish(subject, b"{}")
        await client.flush()
        error = await asyncio.wait_for(refused.get(), 5)
        assert "permissions violation" in error.lower()
        assert subject.lower() in error.lower()
        assert refused.empty()


@pytest.mark.parametrize("subject", ["plumbline.>", "_INBOX.>", "_INBOX_requirements.>", "plumbline.replay.analysis"])
async def test_a_service_may_not_listen_to_what_is_not_its_own(nats_server: RunningNats, subject: str) -> None:
    async with connected(nats_server, "search") as (client, refused):
        await client.subscribe(subject)
        await client.flush()
        assert subject.lower() in (await asyncio.wait_for(refused.get(), 5)).lower()


async def test_a_subscriber_reads_by_consumers_of_its_own_and_touches_none_of_a_service(
    nats_server: RunningNats,
) -> None:
    async with connected(nats_server, "admin") as (admin, _):
        stream = admin.jetstream()
        await stream.add_stream(name="SEARCH", subjects=["plumbline.search.>"])
        await stream.publish("plumbline.search.document.indexed.v1", b"{}")
    client = await nats.connect(nats_server.url("subscriber"))
    mine = await client.jetstream().pull_subscribe("plumbline.search.document.indexed.v1", durable="my-service")
    [message] = await mine.fetch(1, timeout=5)
    await message.ack_sync()
    await client.close()
    for subject in (
        "plumbline.search.document.indexed.v1",
        "$JS.API.STREAM.DELETE.SEARCH",
        "$JS.API.STREAM.PURGE.SEARCH",
        "$JS.API.CONSUMER.DELETE.REQUIREMENTS.search",
        "$JS.API.CONSUMER.MSG.NEXT.REQUIREMENTS.search",
        "$JS.API.CONSUMER.MSG.NEXT.ANALYSIS.analysis-jobs",
        "$JS.API.CONSUMER.DURABLE.CREATE.REQUIREMENTS.search",
        "$JS.API.CONSUMER.CREATE.REQUIREMENTS.search.plumbline.>",
        "$JS.ACK.REQUIREMENTS.search.1.1.1.1.0",
        "$JS.API.CONSUMER.MSG.NEXT.DLQ.my-service",
        "$JS.API.CONSUMER.CREATE.DLQ.REQUIREMENTS.plumbline.>",
    ):
        async with connected(nats_server, "subscriber") as (client, refused):
            await client.publish(subject, b"{}")
            await client.flush()
            assert subject.lower() in (await asyncio.wait_for(refused.get(), 5)).lower()


async def test_streams_survive_a_kill_and_not_a_wipe(nats_server: RunningNats) -> None:
    async def stream_messages() -> int:
        client = await nats.connect(nats_server.admin_url)
        try:
            info = await client.jetstream().stream_info("PROBE")
            return info.state.messages
        finally:
            await client.close()

    client = await nats.connect(nats_server.admin_url)
    stream = client.jetstream()
    await stream.add_stream(name="PROBE", subjects=["probe.>"])
    await stream.publish("probe.one", b"1")
    await client.close()

    await nats_server.restart()
    assert await stream_messages() == 1
    await nats_server.kill()
    await nats_server.start()
    assert await stream_messages() == 1
    await nats_server.wipe_jetstream()
    with pytest.raises(NotFoundError):
        await stream_messages()
