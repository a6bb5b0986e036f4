from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from plumbline_analysis.main import create_app
from plumbline_analysis.models import Base
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.settings import Settings
from plumbline_analysis.worker import Maintenance
from plumbline_common import db, migrate

Client = Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="session")
def settings(postgres: Any, nats_server: Any, issuer: Any) -> Settings:
    return Settings(
        environment="development",
        database_url=postgres.dsn("analysis"),
        nats_url=nats_server.url("analysis"),
        jwks_uri=issuer.jwks_uri,
        jwt_issuer=issuer.issuer,
        jwt_audience=issuer.audience,
        # The tests evaluate by themselves.
        evaluation_interval_seconds=3600,
        telemetry_limit_bytes=200_000,
        decompressed_limit_bytes=1_000_000,
    )


@pytest.fixture(scope="session")
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    await migrate.upgrade("plumbline_analysis", settings.database_url)
    engine = db.create_engine(settings, "plumbline-analysis-tests")
    await Maintenance(async_sessionmaker(engine), settings).once()
    yield engine
    await engine.dispose()


@pytest.fixture
async def sessions(engine: AsyncEngine) -> db.Sessions:
    """Of a schema without rows."""
    async with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            # DELETE, for TRUNCATE would wait for the relay of the running service and it in turn for TRUNCATE. The
            # relay's own row stays.
            if table.name != "outbox_producer":
                await connection.execute(table.delete())
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
def read_sessions(sessions: db.Sessions, engine: AsyncEngine) -> db.Sessions:
    """In autocommit, as the service reads."""
    return async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)


@pytest.fixture(scope="session")
async def running_app(settings: Settings, engine: AsyncEngine) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with LifespanManager(app):
        yield app


@pytest.fixture
def app(running_app: FastAPI, sessions: db.Sessions) -> FastAPI:
    """Over a schema without rows, and without memory of any."""
    running_app.state.directory = Directory()
    return running_app


@pytest.fixture
async def caller(app: FastAPI, issuer: Any) -> AsyncIterator[Client]:
    """A client for each kind of caller: `caller("viewer")`."""
    made: list[httpx.AsyncClient] = []

    def make(*roles: str) -> httpx.AsyncClient:
        made.append(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://test",
                headers={"Authorization": f"Bearer {issuer.token(*roles)}"},
            )
        )
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def viewer(caller: Client) -> httpx.AsyncClient:
    return caller("viewer")


@pytest.fixture
def collector(caller: Client) -> httpx.AsyncClient:
    """Who may only send telemetry."""
    return caller("ingest")
