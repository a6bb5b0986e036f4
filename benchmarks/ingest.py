"""OTLP points accepted and durable through one uvicorn worker, against asyncpg's COPY of the same rows.

Both sides run on one core of their own beside the same PostgreSQL (fsync on), in batches of 5,000 points: a request
there, a transaction here. The tables have the same shape: partitions by day, a primary key over series and time.
Of the points, 70 % are cumulative sums, 20 % gauges and 10 % histograms of 15 buckets; each has five attributes.

Prometheus remote-write is held against OTLP by the processor time of the service, which does not depend on what else
the machine does, and on numbers alone, for it has the buckets of a histogram as numbers too.
"""

import asyncio
import contextlib
import gzip
import os
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import cramjam
import harness
import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from plumbline_analysis.sources import remote_write_wire
from plumbline_stack.layout import owner

BATCH = 5_000
BATCHES = 40
ROUNDS = 3
IN_FLIGHT = 2
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
KINDS = ["sum"] * 35 + ["gauge"] * 10 + ["histogram"] * 5
NUMBERS = ["sum"] * 40 + ["gauge"] * 10
SERIES = BATCH // len(KINDS)
SNAPPY = {"Content-Encoding": "snappy"}
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
APP = "plumbline_analysis.main:create_app"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NUMBERS = ["signal", "ts", "start_ts", "value"]
_HISTOGRAMS = ["signal", "ts", "start_ts", "count", "sum", "min", "max", "layout", "position", "zero_count"]
_HISTOGRAMS += ["negative_position", "counts", "negative_counts"]


def texts(series: int) -> list[tuple[str, str]]:
    return [
        ("http.request.method", ("GET", "POST", "PUT", "DELETE")[series % 4]),
        ("http.route", f"/api/v1/things/{series}"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
    ]


def attributes(point: Any, series: int) -> None:
    for key, value in texts(series):
        point.attributes.add(key=key).value.string_value = value
    point.attributes.add(key="http.response.status_code").value.int_value = 200


def labels(kind: str, index: int, series: int) -> list[tuple[str, str]]:
    """The same series as Prometheus has it."""
    own = [*texts(series), ("http.response.status_code", "200"), ("instance", "1"), ("job", "shop")]
    name = f"shop_{index}_seconds{'_total' if kind == 'sum' else ''}"
    return [("__name__", name), *sorted((key.replace(".", "_"), value) for key, value in own)]


def write_v1(at: datetime) -> bytes:
    """The numbers of a batch as a prometheus.WriteRequest."""
    request = remote_write_wire.WriteRequest()
    for index, kind in enumerate(NUMBERS):
        for series in range(SERIES):
            request.timeseries.append(labelled(labels(kind, index, series), sample(random.random() * 1000, at)))
    return snappy(request)


def write_v2(at: datetime) -> bytes:
    """The numbers of a batch as an io.prometheus.write.v2.Request."""
    request, symbols = remote_write_wire.Request(), {"": 0}
    for index, kind in enumerate(NUMBERS):
        for series in range(SERIES):
            own = request.timeseries.add()
            for pair in labels(kind, index, series):
                own.labels_refs.extend(symbols.setdefault(text, len(symbols)) for text in pair)
            own.samples.append(sample(random.random() * 1000, at))
            own.metadata.type = 1 if kind == "sum" else 2
    request.symbols.extend(symbols)
    return snappy(request)


def snappy(request: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def labelled(pairs: list[tuple[str, str]], *samples: bytes) -> bytes:
    """A series of a prometheus.WriteRequest."""
    label = remote_write_wire.Label
    encoded = [label(name=name, value=value).SerializeToString() for name, value in pairs]
    return bytes(remote_write_wire.LabelledSeries(labels=encoded, samples=samples).SerializeToString())


def sample(value: float, at: datetime) -> bytes:
    since = (at - EPOCH) // timedelta(milliseconds=1)
    return bytes(remote_write_wire.Sample(value=value, timestamp=since).SerializeToString())


def batch(
    at: datetime, start: datetime, kinds: list[str] = KINDS, of_each: int = SERIES
) -> tuple[bytes, list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The same points as a request and as rows of numbers and of histograms."""
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    for key, value in (("service.name", "shop"), ("service.instance.id", "1"), ("host.name", "node-1")):
        of_resource.resource.attributes.add(key=key).value.string_value = value
    scope = of_resource.scope_metrics.add()
    scope.scope.name = "bench"
    numbers: list[tuple[Any, ...]] = []
    histograms: list[tuple[Any, ...]] = []
    times = {
        "start_time_unix_nano": (start - EPOCH) // timedelta(microseconds=1) * 1000,
        "time_unix_nano": (at - EPOCH) // timedelta(microseconds=1) * 1000,
    }
    nan = float("nan")
    for index, kind in enumerate(kinds):
        metric = scope.metrics.add(name=f"shop.{kind}.{index}", unit="s")
        data = getattr(metric, kind)
        if kind != "gauge":
            data.aggregation_temporality = 2
        if kind == "sum":
            data.is_monotonic = True
        for series in range(of_each):
            signal = index * SERIES + series
            if kind == "histogram":
                counts = [random.randrange(1000) for _ in range(len(BOUNDS) + 1)]
                point = data.data_points.add(
                    **times, count=sum(counts), sum=12.5, bucket_counts=counts, explicit_bounds=BOUNDS
                )
                histograms.append((signal, at, start, sum(counts), 12.5, nan, nan, 1, 0, 0, 0, counts, []))
            else:
                value = random.random() * 1000
                point = data.data_points.add(**times, as_double=value)
                numbers.append((signal, at, start, value))
            attributes(point, series)
    return request.SerializeToString(), numbers, histograms


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This process, and those that it starts meanwhile, on one core; PostgreSQL keeps all of them."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


async def tables(connection: asyncpg.Connection) -> None:
    """Tables beside those of the service, of the same shape and with the same days."""
    for table in ("number_points", "histogram_points"):
        await connection.execute(f"CREATE TABLE raw_{table} (LIKE {table} INCLUDING ALL) PARTITION BY RANGE (ts)")
        days = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name, pg_get_expr(relpartbound, inhrelid) AS bound"
            " FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = $1::regclass",
            table,
        )
        for day in days:
            await connection.execute(f"CREATE TABLE raw_{day['name']} PARTITION OF raw_{table} {day['bound']}")


async def raw_copy(pool: asyncpg.Pool, batches: list[Any]) -> float:
    """Seconds to store the rows, each batch in a transaction, as many at once as there are connections."""
    waiting = iter(batches)

    async def copier(connection: asyncpg.Connection) -> None:
        for _, numbers, histograms in waiting:
            async with connection.transaction():
                await connection.copy_records_to_table("raw_number_points", records=numbers, columns=_NUMBERS)
                await connection.copy_records_to_table(
                    "raw_histogram_points", records=histograms, columns=_HISTOGRAMS
                )

    async with contextlib.AsyncExitStack() as held, asyncio.TaskGroup() as group:
        connections = [await held.enter_async_context(pool.acquire()) for _ in range(IN_FLIGHT)]
        began = time.perf_counter()
        for connection in connections:
            group.create_task(copier(connection))
    return time.perf_counter() - began


async def through_http(
    client: httpx.AsyncClient, bodies: list[bytes], headers: dict[str, str], path: str = "/v1/metrics"
) -> float:
    """Seconds until every request is acknowledged."""
    waiting = iter(bodies)

    async def sender() -> None:
        for body in waiting:
            reply = await client.post(path, content=body, headers=headers)
            if reply.is_error or reply.content:
                raise RuntimeError(f"points were not accepted: {reply.status_code} {reply.content[:300]!r}")

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(sender())
    return time.perf_counter() - began


def processor_seconds() -> float:
    """Of the service, since it began."""
    return sum(sum(child.cpu_times()[:2]) for child in harness.served(APP))


async def main() -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)
    made = 0

    def times(count: int) -> list[datetime]:
        nonlocal made
        made += count
        return [start + timedelta(seconds=10 * (made - n)) for n in range(count)]

    def some(count: int) -> list[Any]:
        return [batch(at, start) for at in times(count)]

    ways = {
        "otlp": (lambda at: batch(at, start, NUMBERS)[0], headers, "/v1/metrics"),
        "remote_write": (write_v1, headers | SNAPPY, "/api/v1/write"),
        "remote_write_2": (write_v2, headers | SNAPPY | {"Content-Type": V2}, "/api/v1/write"),
    }
    numbers: dict[str, list[float]] = {name: [] for name in ways}

    async with harness.servers() as servers, contextlib.AsyncExitStack() as stack:
        await harness.migrate(servers, "analysis")
        with one_core():
            url = await stack.enter_async_context(
                harness.uvicorn(
                    APP,
                    servers.environment("analysis", PLUMBLINE_ANALYSIS_POINTS_PER_MINUTE_LIMIT="1000000000"),
                    servers.folder,
                )
            )
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Bearer {servers.issuer.token('ingest')}"},
                timeout=60,
                trust_env=False,
            )
        )
        pool = await stack.enter_async_context(
            asyncpg.create_pool(
                servers.postgres.asyncpg_dsn(owner("analysis")), min_size=IN_FLIGHT, max_size=IN_FLIGHT
            )
        )
        async with pool.acquire() as connection:
            await tables(connection)
        warm = some(3)
        await through_http(client, [each[0] for each in warm], headers)
        await raw_copy(pool, warm)
        for encode, sent, path in ways.values():
            await through_http(client, [encode(at) for at in times(6)], sent, path)

        raw, otlp, zipped = [], [], []
        for turn in range(ROUNDS):
            harness.say(f"round {turn + 1} of {ROUNDS}: {BATCHES} batches of {BATCH} points on each side")
            batches = some(BATCHES)
            with one_core():
                raw.append(await raw_copy(pool, batches))
            otlp.append(await through_http(client, [each[0] for each in batches], headers))
            bodies = [gzip.compress(each[0], 1) for each in some(BATCHES)]
            zipped.append(await through_http(client, bodies, headers | {"Content-Encoding": "gzip"}))
            for name, (encode, sent, path) in ways.items():
                bodies = [encode(at) for at in times(BATCHES)]
                before = processor_seconds()
                await through_http(client, bodies, sent, path)
                numbers[name].append(processor_seconds() - before)
        stored = await pool.fetchval(
            "SELECT (SELECT count(*) FROM number_points) + (SELECT count(*) FROM histogram_points)"
        )
    if stored != made * BATCH:
        raise RuntimeError(f"{stored} points are stored, {made * BATCH} were acknowledged")
    points = BATCH * BATCHES
    copied = points / statistics.median(raw)
    for metric, seconds, bar in (("otlp_vs_copy", otlp, 0.5), ("otlp_gzip_vs_copy", zipped, None)):
        rate = points / statistics.median(seconds)
        ratio = rate / copied
        harness.row(
            "ingest",
            metric,
            rate,
            "points/s",
            against=f"asyncpg COPY of the same rows: {copied:.0f}/s",
            ratio=ratio,
            bar=bar,
            ok=None if bar is None else ratio >= bar,
        )
    of_otlp = points / statistics.median(numbers["otlp"])
    for name in ("remote_write", "remote_write_2"):
        rate = points / statistics.median(numbers[name])
        harness.row(
            "ingest",
            f"{name}_vs_otlp",
            rate,
            "points/s of processor time",
            against=f"OTLP of the same numbers: {of_otlp:.0f}/s",
            ratio=rate / of_otlp,
        )


if __name__ == "__main__":
    asyncio.run(main())
