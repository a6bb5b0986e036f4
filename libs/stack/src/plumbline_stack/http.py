"""Asks a server over HTTP whether it serves."""

import asyncio
import contextlib
from urllib.parse import urlsplit

_SECONDS = 5.0


async def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200.

    Written out, because it is asked many times a second while others start: httpx would load the TLS certificates
    for each client.
    """
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(request.encode())
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
