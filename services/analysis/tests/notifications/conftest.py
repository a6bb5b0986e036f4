from collections.abc import AsyncIterator

import pytest

import webhook_receiver
from webhook_receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with webhook_receiver.serving() as receiver:
        yield receiver
