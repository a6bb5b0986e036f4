from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from plumbline_analysis import background
from plumbline_analysis.main import create_app
from plumbline_analysis.settings import Settings
from start import started_without


async def test_what_is_down_at_the_start_is_waited_for_and_named(
    engine: AsyncEngine, settings: Settings, postgres: Any, issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_RETRY_SECONDS", 0.02)
    async with started_without(create_app, settings, postgres) as service:
        assert await service.until({"database", "migrations", "partitions", "bus"}) == 503
        assert (await service.client.get("/healthz")).status_code == 200
        service.client.headers["Authorization"] = f"Bearer {issuer.token('viewer')}"
        answer = await service.client.get("/api/v1/anomalies")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        await service.database.mend()
        assert await service.until({"bus"}) == 503
        assert (await service.client.get("/api/v1/anomalies")).status_code == 200
        await service.nats.mend()
        assert await service.until(()) == 200
