import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

import emptying
from plumbline_common import bus, db, inbox, outbox
from plumbline_common.events import Event, RequirementDeleted
from plumbline_common.settings import ServiceSettings

METADATA = db.metadata()
outbox.add_tables(METADATA)
inbox.add_tables(METADATA)


@pytest.fixture(scope="session")
async def settings(postgres: Any, nats_server: Any, issuer: Any) -> ServiceSettings:
    """A role and a schema of these tests' own beside those of the services."""
    admin = await asyncpg.connect(postgres.admin_dsn.replace("+asyncpg", ""))
    await admin.execute("CREATE ROLE common LOGIN PASSWORD 'common'")
    await admin.execute("GRANT CONNECT ON DATABASE plumbline TO common")
    await admin.execute("CREATE SCHEMA AUTHORIZATION common")
    await admin.close()
    url = postgres.dsn("requirements").split("@", 1)[1]
    made = ServiceSettings(
        environment="development",
        database_url=f"postgresql+asyncpg://common:common@{url}",
        nats_url=nats_server.admin_url,
        jwks_uri=issuer.jwks_uri,
        jwt_issuer=issuer.issuer,
        jwt_audience=issuer.audience,
    )
    creator = create_async_engine(made.database_url)
    async with creator.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    await creator.dispose()
    return made


@pytest.fixture
async def engine(settings: ServiceSettings) -> AsyncIterator[AsyncEngine]:
    engine = db.create_engine(settings, "tests")
    async with engine.begin() as connection:
        await emptying.empty(connection, ("outbox", "outbox_producer", "inbox", "inbox_progress"))
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> db.Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
async def broker(settings: ServiceSettings) -> AsyncIterator[bus.Broker]:
    """A connection to a server without any stream."""
    broker = bus.Broker(settings.nats_url, "tests")
    await broker.connect()
    for stream in await broker.js.streams_info():
        await broker.js.delete_stream(str(stream.config.name))
    yield broker
    await broker.close()


@pytest.fixture
def deleted() -> Callable[..., RequirementDeleted]:
    def make(revision: int = 1) -> RequirementDeleted:
        return RequirementDeleted(requirement_id=uuid4(), revision=revision, actor="alice")

    return make


@pytest.fixture
def stage(sessions: db.Sessions) -> Callable[..., Any]:
    async def staged(*events: Event) -> None:
        async with sessions.begin() as session:
            for event in events:
                await outbox.stage(session, event)

    return staged


async def until(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait for a condition to hold; fail where it does not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"waited {seconds} s in vain at {datetime.now(UTC):%H:%M:%S}")
        await asyncio.sleep(0.02)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return until
