from collections.abc import AsyncIterator

import pytest

import bad_days
from bad_days import BadDays


@pytest.fixture
async def fake() -> AsyncIterator[BadDays]:
    async with bad_days.serving() as fake:
        yield fake
