import asyncio
from collections.abc import AsyncIterator

import pytest

from bad_days import BadDays


@pytest.fixture
async def fake() -> AsyncIterator[BadDays]:
    fake = BadDays()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    fake.stopping.set()
    server.close()
    await server.wait_closed()
