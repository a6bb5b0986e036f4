import asyncio
import contextlib
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

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
