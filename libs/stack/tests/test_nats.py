import asyncio

import nats
import pytest
from nats.js.errors import NotFoundError

from plumbline_stack.testing import RunningNats


async def test_a_service_publishes_only_its_own_subjects(nats_server: RunningNats) -> None:
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        refused.put_nowait(str(error))

    client = await nats.connect(nats_server.url("search"), error_cb=note)
    try:
        await client.publish("plumbline.search.document.indexed.v1", b"{}")
        await client.publish("plumbline.requirements.requirement.created.v1", b"{}")
        await client.flush()
        error = await asyncio.wait_for(refused.get(), 5)
    finally:
        await client.close()
    assert "permissions violation" in error.lower()
    assert "plumbline.requirements.requirement.created.v1" in error
    assert refused.empty()


async def test_streams_survive_a_kill_and_not_a_wipe(nats_server: RunningNats) -> None:
    async def stream_messages() -> int:
        client = await nats.connect(nats_server.admin_url)
        try:
            info = await client.jetstream().stream_info("PROBE")
            return info.state.messages
        finally:
            await client.close()

    client = await nats.connect(nats_server.url("search"))
    stream = client.jetstream()
    await stream.add_stream(name="PROBE", subjects=["plumbline.search.probe.>"])
    await stream.publish("plumbline.search.probe.one", b"1")
    await client.close()

    await nats_server.restart()
    assert await stream_messages() == 1
    await nats_server.kill()
    await nats_server.start()
    assert await stream_messages() == 1
    await nats_server.wipe_jetstream()
    with pytest.raises(NotFoundError):
        await stream_messages()
