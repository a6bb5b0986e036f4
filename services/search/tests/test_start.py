from typing import Any

import pytest

from plumbline_common import db
from plumbline_search.indexes import serving
from plumbline_search.main import create_app
from plumbline_search.settings import Settings
from start import started_without


async def test_what_is_down_at_the_start_is_waited_for_and_named(
    sessions: db.Sessions, settings: Settings, postgres: Any, issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEARD_SECONDS", 0.02)
    async with started_without(create_app, settings, postgres) as service:
        assert await service.until({"database", "migrations", "indexes", "bus"}) == 503
        assert (await service.client.get("/healthz")).status_code == 200
        service.client.headers["Authorization"] = f"Bearer {issuer.token('viewer')}"
        answer = await service.client.post("/api/v1/search", json={"query": "disk full"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        await service.database.mend()
        assert await service.until({"bus"}) == 503
        assert (await service.client.post("/api/v1/search", json={"query": "disk full"})).status_code == 200
        await service.nats.mend()
        assert await service.until(()) == 200
