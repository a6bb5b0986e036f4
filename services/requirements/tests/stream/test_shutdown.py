"""What becomes of a request under way when the service is told to stop, as at every rollout."""

import asyncio
import json
from typing import Any


async def refused(port: int) -> None:
    """Wait until nobody takes connections on `port`."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def test_a_request_under_way_is_answered_before_the_service_stops(server: Any, issuer: Any) -> None:
    body = json.dumps({"title": "Checkout answers"}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        "POST /api/v1/requirements HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {issuer.token('editor')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
    )
    writer.write("\r\n".join([*head, "", ""]).encode())
    async with asyncio.timeout(30):
        # The service waits for the body: the request is under way.
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        stopped = asyncio.create_task(server.stop())
        try:
            await refused(server.port)
            assert not stopped.done()
            writer.write(body)
            answer = await reader.read()
            await stopped
        finally:
            writer.close()
            await stopped
            await server.start()
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "Checkout answers"
