"""A service that is started while what it needs is down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

import httpx
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from link import Link
from plumbline_common.settings import ServiceSettings
from plumbline_stack import ports


@dataclass(frozen=True)
class Started:
    database: Link
    nats: Link
    client: httpx.AsyncClient

    async def until(self, waited_for: Collection[str]) -> int:
        """Until `/readyz` names exactly these; returns its status."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.client.get("/readyz")
                if {name for name, value in answer.json()["checks"].items() if value != "ok"} == set(waited_for):
                    return answer.status_code
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def started_without(
    create_app: Callable[[Any], FastAPI], settings: ServiceSettings, postgres: Any
) -> AsyncIterator[Started]:
    """Neither PostgreSQL nor NATS can be reached until the test mends its link."""
    database = Link(ports.choose(), postgres.port)
    nats = Link(ports.choose(taken=[database.port]), int(settings.nats_url.rpartition(":")[2]))
    app = create_app(
        settings.model_copy(
            update={
                "database_url": settings.database_url.replace(f":{postgres.port}/", f":{database.port}/"),
                "nats_url": f"{settings.nats_url.rpartition(':')[0]}:{nats.port}",
            }
        )
    )
    try:
        async with (
            LifespanManager(app, startup_timeout=60, shutdown_timeout=60),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            yield Started(database, nats, client)
    finally:
        await asyncio.gather(database.cut(), nats.cut())
