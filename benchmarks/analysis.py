"""Series and pictures over 30 days of a point every 10 s, rollups, and the way of a point to a stored score.

`python benchmarks/analysis.py [history] [latency] [ingest]`: these parts of it, all without names.

history: 259,200 points of each of four gauges, of a histogram of 15 buckets and of an indicator, stored in the order
of time; rolled up; asked for through HTTP of one uvicorn worker, each question 30 times. The peer is bare SQL, which
takes the mean of each 10 minutes of the points, through asyncpg.

latency: 2,000 points/s through HTTP in 10 requests a second, slices of 1 s that are judged half a second after their
end, five requirements. From the moment that a slice is settled until its score can be read from the database.

ingest: `benchmarks/ingest.py`.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import harness
import httpx
import ingest
from sqlalchemy.ext.asyncio import async_sessionmaker

from plumbline_analysis.background import Maintenance
from plumbline_analysis.models import Base
from plumbline_analysis.roller import Roller
from plumbline_analysis.settings import Settings
from plumbline_analysis.watched import service as watched
from plumbline_common import db
from plumbline_common.schemas import RequirementSnapshot, utc
from plumbline_stack.layout import owner

DAYS = 30
STEP = 10
GAUGES = 4
TIMES = 30
SLICES = 100
SETTLE = 0.5
REQUIREMENTS = 5
APP = "plumbline_analysis.main:create_app"

_SIGNAL = """
INSERT INTO signals (id, identity, source, metric, unit, kind, temporality, monotonic, scope, service, resource,
  attributes, aggregation, first_seen)
SELECT gen_random_uuid(), decode(md5($1 || n), 'hex'), 'otlp', $1, 's', $2, $3, false, '', 'shop', '{}',
  jsonb_build_object('n', n::text), $4, $5 FROM generate_series(1, $6::int) AS n
"""
_GAUGES = """
INSERT INTO number_points SELECT number, ts, 'epoch', 100 + 30 * sin(extract(epoch FROM ts) / 13000) + random()
FROM generate_series($1::timestamptz, $2, $3) AS ts, signals WHERE kind = 'gauge'
"""
_LAYOUT = """
INSERT INTO bucket_layouts (identity, bounds, zero_threshold)
SELECT 'l', array_agg(n * 0.05::float8), 0 FROM generate_series(1, 14) AS n
"""
_HISTOGRAMS = """
INSERT INTO histogram_points SELECT number, ts, $1, n * 120, n * 30.0, 'NaN', 'NaN', bucket_layouts.id, 0, 0, 0,
  ARRAY[n, n*2, n*3, n*4, n*5, n*6, n*7, n*8, n*9, n*10, n*11, n*12, n*13, n*14, n*15], '{}'
FROM generate_series($1::timestamptz, $2, $3) WITH ORDINALITY AS points (ts, n), signals, bucket_layouts
WHERE kind = 'histogram'
"""
_DETECTIONS = """
INSERT INTO detections SELECT number, ts, 0.3 + random() / 10, 0.35, 0.2, 0.5, random()
FROM generate_series($1::timestamptz, $2, $3) AS ts, signals WHERE kind = 'indicator'
"""
_ANOMALY = """
INSERT INTO anomalies (id, signal_id, metric, aggregation, unit, service, attributes, state, severity, direction,
  onset, "end", peak_at, peak_score, value, expected, lower, upper, title, revision)
SELECT gen_random_uuid(), id, metric, 'p95', unit, service, '{}', 'resolved', 'warning', 'up', $1::timestamptz,
  $1 + interval '1 hour', $1 + interval '10 minutes', 3, 1, 0.5, 0, 0.8, 'slow', 1
FROM signals WHERE kind = 'indicator' RETURNING id::text
"""
_SCORED = """
SELECT min(newest) FROM (
  SELECT (SELECT ts FROM detections WHERE signal = number ORDER BY ts DESC LIMIT 1) AS newest
  FROM signals WHERE requirement_id IS NOT NULL) AS each
"""
_BARE = (
    "SELECT date_bin('10 minutes', ts, 'epoch'), avg(value) FROM number_points WHERE signal = $1 AND ts > $2"
    " AND ts <= $3 GROUP BY 1 ORDER BY 1"
)


class Analysis:
    """The service's database and, while it runs, the service."""

    def __init__(self, servers: harness.Servers, **settings: Any) -> None:
        self.servers = servers
        self.environment = servers.environment(
            "analysis", **{f"PLUMBLINE_ANALYSIS_{name.upper()}": str(value) for name, value in settings.items()}
        )
        self.settings = Settings(
            database_url=servers.postgres.dsn("analysis"),
            nats_url=servers.nats.url("analysis"),
            jwks_uri=servers.issuer.jwks_uri,
            jwt_issuer=servers.issuer.issuer,
            jwt_audience=servers.issuer.audience,
            statement_timeout_ms=600_000,
            **settings,
        )

    @contextlib.asynccontextmanager
    async def running(self, role: str) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            harness.uvicorn(APP, self.environment, self.servers.folder) as url,
            httpx.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Bearer {self.servers.issuer.token(role)}"},
                timeout=60,
                trust_env=False,
            ) as client,
        ):
            yield client

    @contextlib.asynccontextmanager
    async def sessions(self) -> AsyncIterator[tuple[db.Sessions, db.Sessions]]:
        """In transactions, and in autocommit."""
        engine = db.create_engine(self.settings, "plumbline-bench")
        try:
            yield (
                async_sessionmaker(engine, expire_on_commit=False),
                async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False),
            )
        finally:
            await engine.dispose()


async def fill(connection: asyncpg.Connection, start: datetime, until: datetime) -> None:
    for metric, kind, temporality, aggregation, count in (
        ("load", "gauge", "none", None, GAUGES),
        ("latency", "histogram", "cumulative", None, 1),
        ("indicator", "indicator", "none", "p95", 1),
    ):
        await connection.execute(_SIGNAL, metric, kind, temporality, aggregation, start, count)
    step = timedelta(seconds=STEP)
    await connection.execute(_LAYOUT)
    for statement in (_GAUGES, _HISTOGRAMS, _DETECTIONS):
        await connection.execute(statement, start + step, until, step)
    await connection.execute("ANALYZE")


async def timed(ask: Callable[[], Awaitable[Any]], times: int = TIMES) -> list[float]:
    """Milliseconds, ascending; the first two do not count."""
    taken = []
    for _ in range(times + 2):
        began = time.perf_counter()
        await ask()
        taken.append(1000 * (time.perf_counter() - began))
    return sorted(taken[2:])


async def history(servers: harness.Servers) -> None:
    analysis = Analysis(servers, past_limit_hours=24 * DAYS)
    until = datetime.now(UTC).replace(microsecond=0)
    start = until - timedelta(days=DAYS)
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn(owner("analysis")))
    async with analysis.sessions() as (sessions, reading):
        await Maintenance(sessions, analysis.settings).once()
        harness.say(f"{DAYS} days of points")
        await fill(connection, start, until)
        began = time.perf_counter()

        async def claim() -> int:
            return 1

        await Roller(sessions, reading, analysis.settings, claim).once()
        points = (GAUGES + 2) * DAYS * 86_400 // STEP
        harness.row("analysis", "rollup_points_per_s", points / (time.perf_counter() - began), "points/s")
    await connection.execute("VACUUM ANALYZE")
    ids = dict(await connection.fetch("SELECT DISTINCT ON (metric) metric, id::text FROM signals ORDER BY 1, number"))
    number = await connection.fetchval("SELECT min(number) FROM signals WHERE kind = 'gauge'")
    anomaly = await connection.fetchval(_ANOMALY, until - timedelta(hours=5))
    bare = statistics.median(await timed(lambda: connection.fetch(_BARE, number, start, until)))
    span = {"from": utc(start), "to": utc(until)}
    async with analysis.running("viewer") as client:

        async def row(metric: str, path: str, bar: float | None, said: str | None = None, **asked: Any) -> None:
            async def ask() -> None:
                reply = await client.get(path, params=asked)
                if reply.status_code != 200:
                    raise RuntimeError(f"{path} {asked}: {reply.text[:300]}")

            found = statistics.median(await timed(ask))
            ratio = found / bare if said else None
            ok = None if bar is None else found <= bar
            harness.row("analysis", metric, found, "ms", against=said, ratio=ratio, bar=bar, ok=ok)

        gauge, histogram = (f"/api/v1/signals/{ids[name]}/series" for name in ("load", "latency"))
        said = f"bare SQL, the mean of each 10 minutes of the points: {bare:.0f} ms"
        await row("query_30d_at_10s_ms", gauge, 300, said, max_points=1000, **span)
        await row("query_30d_step_600_ms", gauge, 300, said, step=600, **span)
        await row("query_30d_of_points_ms", gauge, None, said, step=STEP, max_points=1000, **span)
        await row("query_30d_p95_ms", histogram, 300, max_points=1000, **span)
        await row("query_30d_p95_step_600_ms", histogram, None, step=600, **span)
        indicator = f"/api/v1/signals/{ids['indicator']}"
        await row("query_30d_indicator_ms", f"{indicator}/series", 300, max_points=1000, **span)
        await row("plot_svg_p50_ms", f"/api/v1/anomalies/{anomaly}/plot.svg", 50)
        await row("plot_svg_30d_p50_ms", f"{indicator}/plot.svg", 50, **span)
        await row("plot_svg_30d_gauge_p50_ms", f"/api/v1/signals/{ids['load']}/plot.svg", 50, **span)
    for table in ("number", "histogram", "detection"):
        await sizes(connection, table)
    await connection.close()


async def sizes(connection: asyncpg.Connection, kind: str) -> None:
    """Bytes a series a day, index and all."""
    raw = "detections" if kind == "detection" else f"{kind}_points"
    for table, name in ((raw, "points"), (f"{kind}_rollups_1m", "1m"), (f"{kind}_rollups_1h", "1h")):
        bytes_ = await connection.fetchval(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = $1::text::regclass",
            table,
        )
        series = GAUGES if kind == "number" else 1
        harness.row("analysis", f"{kind}_{name}_bytes_a_day", float(bytes_) / DAYS / series, "B")


# --- From a point to its score --------------------------------------------------------------------------


def requirement(index: int, now: datetime) -> RequirementSnapshot:
    """Wants 9 of 10 slices of one of the histograms to be quick."""
    query = {"metric": f"shop.histogram.{45 + index}", "attributes": {"service.name": "shop"}, "aggregation": "p95"}
    return RequirementSnapshot.model_validate(
        {
            "id": UUID(int=index + 1),
            "key": f"REQ-{index}",
            "revision": 1,
            "title": "The shop answers quickly",
            "description": "",
            "statement": "",
            "rationale": "",
            "type": "latency",
            "priority": "must",
            "owner_team": "shop",
            "service": "shop",
            "slos": [
                {
                    "name": "latency",
                    "indicator": {"thresholdMetric": {"metricSource": {"spec": query}}},
                    "timeWindow": [{"duration": "1h"}],
                    "objectives": [{"op": "lte", "value": 5, "target": 0.9}],
                }
            ],
            "verification_method": "",
            "labels": {},
            "fingerprint": "f",
            "status": "active",
            "created_at": now,
            "created_by": "bench",
            "updated_at": now,
            "updated_by": "bench",
        }
    )


async def send(client: httpx.AsyncClient, seconds: float) -> float:
    """10 requests a second, each of 200 points. The points a second that were acknowledged."""
    start = datetime.now(UTC) - timedelta(seconds=1)
    began = time.monotonic()
    for turn in range(int(seconds * 10)):
        await asyncio.sleep(max(0.0, began + turn / 10 - time.monotonic()))
        body = ingest.batch(datetime.now(UTC), start, of_each=ingest.SERIES // 25)[0]
        reply = await client.post("/v1/metrics", content=body, headers={"Content-Type": "application/x-protobuf"})
        if reply.status_code != 200:
            raise RuntimeError(f"points were not accepted: {reply.status_code} {reply.text[:300]}")
    return 2_000 * seconds / (time.monotonic() - began)


async def scored(connection: asyncpg.Connection, seconds: float) -> list[float]:
    """Milliseconds from the settling of each slice until every requirement's score of it can be read."""
    found: list[float] = []
    seen: datetime | None = None
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        newest = await connection.fetchval(_SCORED)
        now = time.time()
        while newest is not None and (seen is None or seen < newest):
            seen = newest if seen is None else seen + timedelta(seconds=1)
            found.append(1000 * (now - seen.timestamp() - SETTLE))
        await asyncio.sleep(0.001)
    return sorted(found[len(found) // 10 :])


async def latency(servers: harness.Servers) -> None:
    analysis = Analysis(servers, evaluation_interval_seconds=1, settle_seconds=SETTLE, backfill_seconds=1)
    async with analysis.sessions() as (sessions, _), sessions.begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != "outbox_producer":
                await session.execute(table.delete())
        for index in range(REQUIREMENTS):
            await watched.keep(session, requirement(index, datetime.now(UTC)))
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("analysis"))
    async with analysis.running("ingest") as client:
        seconds = SLICES * 1.1
        sending = asyncio.create_task(send(client, seconds))
        found = await scored(connection, seconds)
        rate = await sending
    await connection.close()
    p99 = found[int(len(found) * 0.99)]
    harness.row("analysis", "point_latency_points_per_s", rate, "points/s", bar=1_990, ok=rate >= 1_990)
    harness.row("analysis", "point_latency_p50_ms", statistics.median(found), "ms")
    harness.row("analysis", "point_latency_p99_ms", p99, "ms", bar=50, ok=p99 <= 50)


async def main() -> None:
    asked = sys.argv[1:] or ["history", "latency", "ingest"]
    async with harness.servers() as servers:
        await harness.migrate(servers, "analysis")
        for name, part in (("history", history), ("latency", latency)):
            if name in asked:
                await part(servers)
    if "ingest" in asked:
        await ingest.main()


if __name__ == "__main__":
    asyncio.run(main())
