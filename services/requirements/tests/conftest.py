from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import emptying
from plumbline_common import migrate
from plumbline_requirements.main import create_app
from plumbline_requirements.settings import Settings

Client = Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="session")
async def owner(postgres: Any) -> AsyncIterator[AsyncEngine]:
    """As the role that owns the migrated schema."""
    await migrate.upgrade("plumbline_requirements", postgres.owner_dsn("requirements"))
    engine = create_async_engine(postgres.owner_dsn("requirements"))
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def settings(postgres: Any, nats_server: Any, issuer: Any) -> Settings:
    return Settings(
        environment="development",
        database_url=postgres.dsn("requirements"),
        nats_url=nats_server.url("requirements"),
        jwks_uri=issuer.jwks_uri,
        jwt_issuer=issuer.issuer,
        jwt_audience=issuer.audience,
        concurrent_requests=1000,  # however busy the machine, none is refused
    )


@pytest.fixture(scope="session")
async def app(settings: Settings, owner: AsyncEngine) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60):
        yield app


@pytest.fixture
async def clean(app: FastAPI, owner: AsyncEngine) -> None:
    tables = (
        *("openslo_objects", "links", "baseline_items", "baselines", "budget_adjustments", "exemptions"),
        # A trigger writes what the last two are made of.
        *("saved_views", "requirements", "requirement_counts", "requirement_count_deltas"),
    )
    async with owner.begin() as connection:
        await emptying.empty(connection, tables)


@pytest.fixture
async def caller(app: FastAPI, clean: None, issuer: Any) -> AsyncIterator[Client]:
    """A client for each kind of caller: `caller("editor", subject="alice", teams=["payments"])`."""
    made: list[httpx.AsyncClient] = []

    def make(*roles: str, subject: str = "alice", teams: tuple[str, ...] = ("payments",)) -> httpx.AsyncClient:
        token = issuer.token(*roles, teams=teams, subject=subject)
        made.append(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://test",
                headers={"Authorization": f"Bearer {token}"},
            )
        )
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def alice(caller: Client) -> httpx.AsyncClient:
    """An editor of the team payments."""
    return caller("editor")


@pytest.fixture
def rita(caller: Client) -> httpx.AsyncClient:
    """A reviewer of no team."""
    return caller("reviewer", subject="rita", teams=())
