import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

import emptying
import indexed
from plumbline_common import db, migrate, offload
from plumbline_common.events import Event, Received
from plumbline_common.schemas import AnomalySnapshot, IncidentSnapshot, LogTemplateSnapshot, RequirementSnapshot
from plumbline_search.embedding import encoder
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.indexes.serving import Serving
from plumbline_search.main import create_app
from plumbline_search.models import Base
from plumbline_search.settings import Settings


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the encoder is built, once for all tests."""
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture(scope="session")
def settings(postgres: Any, nats_server: Any, issuer: Any, model_cache: Path) -> Settings:
    return Settings(
        database_url=postgres.dsn("search"),
        nats_url=nats_server.url("search"),
        jwks_uri=issuer.jwks_uri,
        jwt_issuer=issuer.issuer,
        jwt_audience=issuer.audience,
        concurrent_requests=1000,  # however busy the machine, none is refused
        model_cache=model_cache,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def owner(postgres: Any) -> AsyncIterator[AsyncEngine]:
    """As the role that owns the migrated schema."""
    await migrate.upgrade("plumbline_search", postgres.owner_dsn("search"))
    engine = create_async_engine(postgres.owner_dsn("search"))
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(settings: Settings, owner: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    engine = db.create_engine(settings, "plumbline-search-tests")
    yield engine
    await engine.dispose()


async def _empty(owner: AsyncEngine) -> None:
    async with owner.begin() as connection:
        await emptying.empty(connection, [table.name for table in reversed(Base.metadata.sorted_tables)])
        await indexed.begin_with_one(connection)


@pytest_asyncio.fixture(loop_scope="session")
async def sessions(engine: AsyncEngine, owner: AsyncEngine) -> AsyncIterator[db.Sessions]:
    """Of a schema without rows."""
    await _empty(owner)
    yield async_sessionmaker(engine, expire_on_commit=False)


@pytest_asyncio.fixture(loop_scope="session")
async def reading(sessions: db.Sessions, engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """In autocommit, as a search has it."""
    maker = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    async with maker() as session:
        yield session


@pytest.fixture
def put(sessions: db.Sessions) -> indexed.Put:
    return indexed.putting(sessions)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedder(model_cache: Path) -> AsyncIterator[Embedder]:
    """The real encoder, in a thread."""
    await offload.in_thread(encoder.load, model_cache)

    async def encode(texts: list[str]) -> encoder.Vectors:
        vectors: encoder.Vectors = await offload.in_thread(encoder.encode, texts)
        return vectors

    async with Embedder(encode) as running:
        yield running


@pytest.fixture
def serving(embedder: Embedder) -> Serving:
    """The live index, by the real encoder."""
    return indexed.OneIndex(embedder)


MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def requirement() -> Callable[..., RequirementSnapshot]:
    """A requirement with the members that the caller changes."""

    def make(**changes: Any) -> RequirementSnapshot:
        return RequirementSnapshot.model_validate(
            {
                "id": UUID(int=1),
                "key": "REQ-42",
                "revision": 3,
                "title": "Checkout answers fast",
                "description": "Customers leave slow shops.",
                "statement": "When a customer pays, the checkout shall answer within 300 ms.",
                "rationale": "Conversion falls with latency.",
                "type": "latency",
                "priority": "must",
                "owner_team": "payments",
                "service": "checkout",
                "slos": [],
                "verification_method": "monitoring",
                "labels": {"tier": "gold"},
                "fingerprint": "0" * 64,
                "status": "active",
                "created_at": MOMENT,
                "created_by": "alice",
                "updated_at": MOMENT,
                "updated_by": "alice",
            }
            | changes
        )

    return make


@pytest.fixture(scope="session")
def log_template() -> Callable[..., LogTemplateSnapshot]:
    """A log template with the members that the caller changes."""

    def make(**changes: Any) -> LogTemplateSnapshot:
        return LogTemplateSnapshot.model_validate(
            {
                "id": UUID(int=4),
                "service": "shop",
                "template": "cart <*> paid",
                "count": 12,
                "first_seen": MOMENT,
                "last_seen": MOMENT,
                "examples": ["cart 7 paid", "cart 8 paid"],
                "revision": 1,
            }
            | changes
        )

    return make


@pytest.fixture(scope="session")
def anomaly() -> Callable[..., AnomalySnapshot]:
    """An anomaly with the members that the caller changes."""

    def make(**changes: Any) -> AnomalySnapshot:
        return AnomalySnapshot.model_validate(
            {
                "id": UUID(int=2),
                "signal_id": UUID(int=3),
                "metric": "http.server.request.duration",
                "aggregation": "p95",
                "unit": "s",
                "service": "checkout",
                "attributes": {"http.route": "/pay"},
                "requirement_id": None,
                "requirement_revision": None,
                "state": "open",
                "severity": "critical",
                "direction": "up",
                "onset": MOMENT,
                "end": None,
                "peak_at": MOMENT,
                "peak_score": 7.5,
                "value": 2.1,
                "expected": 0.2,
                "lower": 0.1,
                "upper": 0.3,
                "title": "p95 of http.server.request.duration of checkout far above its band",
                "revision": 2,
            }
            | changes
        )

    return make


@pytest.fixture(scope="session")
def incident() -> Callable[..., IncidentSnapshot]:
    """An incident with the members that the caller changes."""

    def make(**changes: Any) -> IncidentSnapshot:
        anomaly = {
            "id": UUID(int=2),
            "service": "cart",
            "requirement_id": None,
            "severity": "critical",
            "onset": MOMENT,
            "end": None,
            "sentence": "Latency of cart rose to 612 ms; its level has moved for some time.",
        }
        reason = {"kind": "deployment", "text": "1.4.2 was deployed 6 min before", "weight": 0.15}
        origin = {"service": "cart", "anomaly_id": UUID(int=2), "title": "Latency of cart rose", "score": 0.5}
        return IncidentSnapshot.model_validate(
            {
                "id": UUID(int=5),
                "revision": 1,
                "state": "open",
                "severity": "critical",
                "title": "Latency of cart rose to 612 ms; with it 1 more anomaly of web",
                "services": ["cart", "web"],
                "requirement_ids": [],
                "onset": MOMENT,
                "quiet_since": None,
                "anomaly_count": 2,
                "anomalies": [anomaly],
                "origins": [origin | {"reasons": [reason]}],
                "comments": [{"at": MOMENT, "by": "alice", "text": "A quokka sits on the cable"}],
                "opened_at": MOMENT,
            }
            | changes
        )

    return make


_positions = itertools.count(1)


@pytest.fixture
def received() -> Callable[..., Received[Any]]:
    """An event as the bus hands it over; each call is another event."""

    def make(event: Event, time: datetime | None = None) -> Received[Any]:
        producer = event.subject.partition(".")[0]
        return Received(db.new_id(), producer, next(_positions), time or datetime.now(UTC), event)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app(settings: Settings, owner: AsyncEngine) -> AsyncIterator[FastAPI]:
    """The whole service, running. Tests that use it share its tables: `sessions` would empty them under it."""
    await _empty(owner)
    app = create_app(settings)
    async with LifespanManager(app, startup_timeout=180, shutdown_timeout=60):
        await indexed.seen(app)
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(app: FastAPI, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A viewer."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://search",
        headers={"Authorization": f"Bearer {issuer.token('viewer')}"},
    ) as client:
        yield client
