"""What a service does without the database, NATS and the issuer: at its start, and when they go away later."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import text

import oidc_provider
from link import Link
from oidc_provider import Provider
from plumbline_common import auth, outbox, web
from plumbline_common import issuer as issuer_module
from plumbline_common.events import RequirementDeleted
from plumbline_common.settings import ServiceSettings
from plumbline_stack import ports

router = APIRouter(prefix="/things", dependencies=[Depends(auth.require("operator"))])


@router.get("")
async def read(session: web.ReadSession) -> int:
    return int((await session.execute(text("SELECT 1"))).scalar_one())


@router.post("")
async def write(session: web.Session) -> None:
    await outbox.stage(session, RequirementDeleted(requirement_id=uuid4(), revision=1, actor="ci"))


@dataclass
class World:
    database: Link
    nats: Link
    provider: Provider
    app: FastAPI
    client: httpx.AsyncClient

    async def checks(self) -> dict[str, str]:
        found: dict[str, str] = (await self.client.get("/readyz")).json()["checks"]
        return found

    async def until(self, *ready: str) -> None:
        """Of the checks exactly these hold; the tables of these tests are made without migrations."""
        async with asyncio.timeout(15):
            while {name for name, value in (await self.checks()).items() if value == "ok"} != set(ready):
                await asyncio.sleep(0.02)

    async def statuses(self) -> tuple[int, int]:
        """Of a read and a write."""
        return (await self.client.get("/things")).status_code, (await self.client.post("/things")).status_code


ALL = ("database", "bus", "issuer")


@pytest.fixture(scope="module")
def soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issuer_module, "RETRY_SECONDS", 0.02)
        yield


@pytest.fixture(scope="module")
async def world(
    soon: None, settings: ServiceSettings, postgres: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A service that began while all was down, seen to name all of it and to answer nothing; then all came up."""
    provider = Provider(tmp_path_factory.mktemp("provider"), ports.choose())
    nats_port = int(settings.nats_url.rpartition(":")[2])
    database = Link(ports.choose(), postgres.port)
    nats = Link(ports.choose(taken=[database.port]), nats_port)
    told = settings.model_copy(
        update={
            "database_url": settings.database_url.replace(f":{postgres.port}/", f":{database.port}/"),
            "nats_url": settings.nats_url.replace(f":{nats_port}", f":{nats.port}"),
            "jwks_uri": None,
            "jwt_issuer": provider.issuer,
            "jwt_audience": oidc_provider.AUDIENCE,
            "jwt_roles_claim": "realm_access.roles",
            "jwt_role_names": {"sre-leads": "operator"},
        }
    )
    app = web.create_app("requirements", told, routers=[router])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        LifespanManager(app, startup_timeout=60, shutdown_timeout=60),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        made = World(database, nats, provider, app, client)
        try:
            await made.until()
            assert set(await made.checks()) == {*ALL, "migrations"}
            await provider.start()
            await made.until("issuer")
            client.headers["Authorization"] = f"Bearer {await provider.token()}"
            assert await made.statuses() == (503, 503)
            await database.mend()
            await nats.mend()
            await made.until(*ALL)
            yield made
        finally:
            await asyncio.gather(database.cut(), nats.cut(), provider.stop())


async def test_what_is_down_at_the_start_is_waited_for(world: World) -> None:
    assert await world.statuses() == (200, 200)


async def test_without_nats_all_is_answered_and_events_wait(world: World) -> None:
    await world.nats.cut()
    await world.until("database", "issuer")
    assert (await world.checks())["bus"] == "degraded"
    assert await world.statuses() == (200, 200)
    async with world.app.state.sessions() as session:
        published = "coalesce((SELECT max(published) FROM outbox_producer), 0)"
        waiting = text(f"SELECT count(*) FROM outbox WHERE position IS NULL OR position > {published}")
        assert await session.scalar(waiting) >= 1
        await world.nats.mend()
        async with asyncio.timeout(15):
            while await session.scalar(waiting):
                await session.rollback()
                await asyncio.sleep(0.05)
    await world.until(*ALL)


async def test_without_the_database_the_service_says_to_come_again(world: World) -> None:
    await world.database.cut()
    assert await world.statuses() == (503, 503)
    answer = await world.client.get("/things")
    assert (answer.json()["type"], answer.headers["retry-after"]) == ("urn:plumbline:problem:unavailable", "1")
    await world.until("bus", "issuer")
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert (await world.client.get(path)).status_code == 200
    await world.database.mend()
    await world.until(*ALL)
    assert await world.statuses() == (200, 200)


async def test_without_the_issuer_those_whose_key_is_known_are_answered(world: World, tmp_path: Path) -> None:
    world.provider.rotate(keep=True)
    unknown = {"Authorization": f"Bearer {await world.provider.token()}"}
    await world.provider.stop()
    assert await world.statuses() == (200, 200)
    answer = await world.client.get("/things", headers=unknown)
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:plumbline:problem:unauthenticated")
    await world.until(*ALL)
    await world.provider.start()
    assert (await world.client.get("/things", headers=unknown)).status_code == 200
