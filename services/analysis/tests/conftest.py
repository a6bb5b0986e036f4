import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import httpx
import numpy as np
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

import emptying
from plumbline_analysis.anomalies import repository as anomaly_repository
from plumbline_analysis.anomalies.schemas import AnomalySort
from plumbline_analysis.background import Maintenance
from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.incident_keeper import GraphKeeper, IncidentKeeper
from plumbline_analysis.lines import service as line_service
from plumbline_analysis.log_evaluator import LogEvaluator
from plumbline_analysis.logs.changes import Config
from plumbline_analysis.main import create_app
from plumbline_analysis.models import Base
from plumbline_analysis.moments import micros
from plumbline_analysis.notifier import Notifier
from plumbline_analysis.points import resolution, service
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.puller import Puller
from plumbline_analysis.roller import Roller
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Layout, Temporality, Window
from plumbline_analysis.sources.lines import Line, Lines
from plumbline_analysis.watched import service as watched
from plumbline_common import db, migrate
from plumbline_common.schemas import BudgetAdjustmentSnapshot, RequirementSnapshot

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
        evaluation_interval_seconds=3600,
        concurrent_requests=1000,  # however busy the machine, none is refused
        telemetry_limit_bytes=200_000,
        decompressed_limit_bytes=1_000_000,
        notification_allowed=("127.0.0.1",),
    )


@pytest.fixture(scope="session")
async def engine(postgres: Any, settings: Settings) -> AsyncIterator[AsyncEngine]:
    await migrate.upgrade("plumbline_analysis", postgres.owner_dsn("analysis"))
    engine = db.create_engine(settings, "plumbline-analysis-tests")
    await Maintenance(async_sessionmaker(engine), settings).once()
    yield engine
    await engine.dispose()


@pytest.fixture
async def sessions(engine: AsyncEngine) -> db.Sessions:
    """Of a schema without rows."""
    names = [table.name for table in reversed(Base.metadata.sorted_tables)]
    async with engine.begin() as connection:
        await emptying.empty(connection, [name for name in names if name != "outbox_producer"])  # the relay's own row
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
def read_sessions(sessions: db.Sessions, engine: AsyncEngine) -> db.Sessions:
    """In autocommit, as the service reads."""
    return async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)


@pytest.fixture(scope="session")
async def running_app(settings: Settings, engine: AsyncEngine) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with contextlib.AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            # The tests evaluate, group, pull, notify and roll up by themselves.
            works = (
                *((work, "run") for work in (Evaluator, LogEvaluator, IncidentKeeper, Puller, Notifier)),
                (Roller, "once"),
            )
            for worker, work in (*works, (GraphKeeper, "flush"), (GraphKeeper, "look")):
                patch.setattr(worker, work, lambda self: asyncio.Event().wait())
            await stack.enter_async_context(LifespanManager(app, startup_timeout=180, shutdown_timeout=60))
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


EVER = Window(0, 2**62, 0, 0)
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class World:
    """A shop with two workers, the clock of its day, and the evaluator that watches it."""

    step = 2
    """Seconds a slice."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    requirement_id = UUID("0190a8a0-0000-7000-8000-000000000001")

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> None:
        self.sessions, self.read_sessions, self.settings = sessions, read_sessions, settings
        self.now = self.start
        self.evaluator = Evaluator(sessions, read_sessions, settings, lambda: self.now)
        self.directory = Directory()
        self.random = np.random.default_rng(5)
        self.counts: dict[tuple[str, str], np.ndarray] = {}

    async def keep(self, snapshot: RequirementSnapshot) -> None:
        async with self.sessions.begin() as session:
            await watched.keep(session, snapshot)

    async def adjust(self, *windows: tuple[datetime, datetime], revision: int = 2, **scope: Any) -> None:
        """Let these times burn no budget of the requirement, or of what `scope` says."""
        given: dict[str, Any] = {
            "id": UUID(int=7),
            "revision": revision,
            "requirement_ids": [self.requirement_id],
            "service": None,
            "team": None,
            "category": "maintenance",
            "reason": "the databases move",
            "windows": [{"start": start, "end": end} for start, end in windows],
        }
        async with self.sessions.begin() as session:
            await watched.adjust(session, BudgetAdjustmentSnapshot.model_validate(given | scope))

    async def forget(self, revision: int = 9) -> None:
        async with self.sessions.begin() as session:
            await watched.forget(session, self.requirement_id, revision)

    def export(self, seconds: float, errors: float, requests: int, found: Batch | None = None) -> Batch:
        """What the workers export after one more slice in which they took `seconds` for most requests, in `found`."""
        found = Batch() if found is None else found
        at = micros(self.now)
        for worker in ("1", "2"):
            for status in ("200", "500"):
                share = errors if status == "500" else 1 - errors
                taken = seconds * self.random.lognormal(0, 0.3, self.random.poisson(requests * share))
                row = self.counts.setdefault((worker, status), np.zeros(len(BOUNDS) + 1, np.int64))
                row += np.bincount(np.searchsorted(BOUNDS, taken), minlength=len(BOUNDS) + 1)
                point = Histogram(
                    int(row.sum()), 1.0, float("nan"), float("nan"), Layout(BOUNDS), tuple(row.tolist())
                )
                head = Head(
                    "otlp",
                    "http.server.request.duration",
                    "s",
                    Kind.HISTOGRAM,
                    Temporality.CUMULATIVE,
                    True,
                    "",
                    (("service.instance.id", worker), ("service.name", "shop")),
                )
                keys = [(("status", status),)]
                start, time = (np.array([each], np.uint64) for each in (micros(self.start) * 1000 - 10**9, at * 1000))
                batch.add(found, EVER, head, dict, list(keys), start, time, [point])
        return found

    async def send(self, telemetry: Batch) -> None:
        async with self.sessions.begin() as session:
            await service.store(session, resolution.resolve(telemetry, self.directory), self.directory)

    async def live(
        self, slices: int, seconds: float = 0.02, errors: float = 0.0, requests: int = 40, evaluate: bool = True
    ) -> None:
        """Let time pass, slice by slice; four at once through a long calm."""
        at_once = 4 if slices >= 10 and seconds < 0.1 and not errors else 1
        for done in range(0, slices, at_once):
            telemetry = Batch()
            for _ in range(min(at_once, slices - done)):
                self.now += timedelta(seconds=self.step)
                if requests:
                    self.export(seconds, errors, requests, telemetry)
            if requests:
                await self.send(telemetry)
            if evaluate:
                await self.evaluator.round()

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        async with self.sessions() as session:
            rows = await session.execute(text("SELECT subject, data FROM outbox ORDER BY seq"))
            return [(row.subject.removeprefix("analysis.").removesuffix(".v1"), json.loads(row.data)) for row in rows]

    async def verdicts(self) -> list[str]:
        """The states in the order in which they were told."""
        return [data["verdict"]["state"] for subject, data in await self.events() if subject == "verdict.changed"]

    async def current(self) -> dict[str, Any] | None:
        async with self.sessions() as session:
            found = (await session.execute(text("SELECT verdict FROM current_verdicts"))).scalar_one_or_none()
            return found and dict(found)

    async def anomalies(self) -> list[Any]:
        async with self.sessions() as session:
            found, _ = await anomaly_repository.page(session, None, None, None, AnomalySort.OLDEST, 0, 100)
            return list(found)

    @staticmethod
    def latency_slo(**members: Any) -> dict[str, Any]:
        """p95 within 250 ms in 9 of 10 slices."""
        query = {
            "metric": "http.server.request.duration",
            "attributes": {"service.name": "shop"},
            "aggregation": "p95",
        }
        return {
            "name": "latency",
            "indicator": {"thresholdMetric": {"metricSource": {"spec": query}}},
            "timeWindow": [{"duration": "2m"}],
            "objectives": [{"op": "lte", "value": 0.25, "target": 0.9}],
        } | members

    @staticmethod
    def ratio_slo(**members: Any) -> dict[str, Any]:
        """9 of 10 requests without a server error."""

        def requests(**attributes: str) -> dict[str, Any]:
            return {
                "metricSource": {
                    "spec": {
                        "metric": "http.server.request.duration",
                        "attributes": {"service.name": "shop"} | attributes,
                    }
                }
            }

        return {
            "name": "errors",
            "indicator": {"ratioMetric": {"bad": requests(status="500"), "total": requests()}},
            "timeWindow": [{"duration": "2m"}],
            "objectives": [{"target": 0.9}],
        } | members

    @staticmethod
    def requirement(*slos: dict[str, Any], **members: Any) -> RequirementSnapshot:
        given: dict[str, Any] = {
            "id": World.requirement_id,
            "key": "REQ-1",
            "revision": 1,
            "title": "The shop answers quickly",
            "description": "",
            "statement": "",
            "rationale": "",
            "type": "latency",
            "priority": "must",
            "owner_team": "payments",
            "service": "shop",
            "slos": list(slos),
            "verification_method": "",
            "labels": {},
            "fingerprint": "f",
            "status": "active",
            "created_at": World.start,
            "created_by": "alice",
            "updated_at": World.start,
            "updated_by": "alice",
        }
        return RequirementSnapshot.model_validate(given | members)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "evaluation_interval_seconds": World.step,
            "settle_seconds": 0.0,
            "lateness_seconds": 10.0,
            "late_points_seconds": 10.0,
            "backfill_seconds": 600.0,
            "stale_seconds": 20.0,
            "short_floor_seconds": 6.0,
            "long_floor_seconds": 20.0,
        }
    )


@pytest.fixture
def world(sessions: db.Sessions, read_sessions: db.Sessions, quick: Settings) -> World:
    return World(sessions, read_sessions, quick)


class LogWorld:
    """A shop whose log lines come minute by minute, the clock of its day, and the evaluator that reads them."""

    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=12)
    ordinary: ClassVar = {"cart paid": 40, "stock counted": 20, "door opened": 3}

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> None:
        self.sessions, self.read_sessions, self.settings = sessions, read_sessions, settings
        self.now = self.start
        self.random = np.random.default_rng(5)
        self.evaluator = self.new_evaluator()

    def new_evaluator(self) -> LogEvaluator:
        leader = Evaluator(self.sessions, self.read_sessions, self.settings, lambda: self.now)
        self.release = leader.release
        return LogEvaluator(
            self.sessions, self.read_sessions, self.settings, leader.holder, leader.claim, lambda: self.now
        )

    async def restart(self) -> None:
        await self.release()
        self.evaluator = self.new_evaluator()

    async def log(self, counts: Mapping[str, int], at: datetime | None = None, of: str = "shop") -> None:
        """Store so many lines each, as if they had come at `at`."""
        time = micros(at or self.now)
        lines = [Line(of, time, 9, text.encode(), b"{}") for text, count in counts.items() for _ in range(count)]
        async with self.sessions.begin() as session:
            await line_service.store_export(session, Lines(lines, is_timed=False), b"")
            await session.execute(
                text("UPDATE log_streams SET first_seen = :start WHERE first_seen > :start"), {"start": self.start}
            )

    async def minutes(self, count: int, evaluate: bool = True, **more: int) -> None:
        """Let ordinary minutes pass, with `more` lines in each."""
        for _ in range(count):
            came = {line: int(self.random.poisson(mean)) for line, mean in self.ordinary.items()} | more
            await self.log(came, self.now + timedelta(seconds=30))
            self.now += timedelta(minutes=1)
            if evaluate:
                await self.evaluate()

    async def silence(self, minutes: int) -> None:
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            await self.evaluate()

    async def learn(self) -> None:
        """Let ordinary minutes pass until what is unusual is told."""
        await self.minutes(Config().learning + 10, evaluate=False)
        await self.evaluate()

    async def evaluate(self) -> None:
        """As soon as the last minute has settled."""
        now, self.now = self.now, self.now + timedelta(seconds=self.settings.settle_seconds)
        await self.evaluator.round()
        self.now = now

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        return await World.events(self)  # type: ignore[arg-type]

    async def told(self, subject: str) -> list[dict[str, Any]]:
        """The data of the events of one kind."""
        return [data for kind, data in await self.events() if kind == subject]

    async def detected(self, kind: str) -> list[dict[str, Any]]:
        """The anomalies of logs of one kind, as they were detected."""
        anomalies = [data["anomaly"] for data in await self.told("anomaly.detected")]
        return [anomaly for anomaly in anomalies if anomaly["log"]["kind"] == kind]

    async def templates(self) -> dict[str, Any]:
        """Those that are not part of others, by their text."""
        async with self.sessions() as session:
            rows = await session.execute(text("SELECT * FROM log_templates WHERE merged_into IS NULL"))
            return {row.template: row for row in rows}


@pytest.fixture
def log_world(sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> LogWorld:
    return LogWorld(sessions, read_sessions, settings.model_copy(update={"evaluation_interval_seconds": 10}))
