"""A cardinality bomb: 1,000,000 values of one label through one uvicorn worker, beside a service that sends as ever.

The bomb comes by remote-write, 5,000 new series a request, one request after the other as fast as they are answered.
The other service has 500 series and sends ten times a second. Limits are the defaults.
"""

import asyncio
import contextlib
import statistics
import time
from datetime import UTC, datetime

import asyncpg
import harness
import httpx
from ingest import SNAPPY, labelled, sample, snappy

from plumbline_analysis.sources import remote_write_wire

SERIES = 1_000_000
AT_ONCE = 5_000
ORDINARY = 500
LIMIT = 10_000
APP = "plumbline_analysis.main:create_app"
HEADERS = {"Content-Type": "application/x-protobuf"} | SNAPPY


def body(job: str, label: str, values: range) -> bytes:
    request = remote_write_wire.WriteRequest()
    at = datetime.now(UTC)
    for value in values:
        labels = [("__name__", "requests_total"), ("job", job), (label, f"{label}-{value:032x}")]
        request.timeseries.append(labelled(labels, sample(1.0, at)))
    return snappy(request)


async def ordinary(client: httpx.AsyncClient, times: list[float], stop: asyncio.Event) -> None:
    """Send ten times a second until told to stop; the seconds that each request took."""
    while not stop.is_set():
        sent = body("shop", "route", range(ORDINARY))
        began = time.perf_counter()
        (await client.post("/api/v1/write", content=sent)).raise_for_status()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, 0.1 - times[-1]))


async def explode(client: httpx.AsyncClient) -> int:
    """How many points were refused."""
    refused = 0
    for first in range(0, SERIES, AT_ONCE):
        sent = await asyncio.to_thread(body, "bomb", "user", range(first, first + AT_ONCE))
        reply = await client.post("/api/v1/write", content=sent)
        if reply.status_code not in (204, 400):
            raise RuntimeError(f"{reply.status_code} {reply.text[:300]}")
        if first % (SERIES // 5) == 0:
            harness.say(f"{first} sent")
        refused += AT_ONCE - int(reply.headers["x-prometheus-remote-write-samples-written"])
    return refused


def resident() -> float:
    """The service's memory in MiB."""
    return sum(child.memory_info().rss for child in harness.served(APP)) / 2**20


async def main() -> None:
    async with harness.servers() as servers, contextlib.AsyncExitStack() as stack:
        await harness.migrate(servers, "analysis")
        environment = servers.environment("analysis")
        url = await stack.enter_async_context(harness.uvicorn(APP, environment, servers.folder))
        token = {"Authorization": f"Bearer {servers.issuer.token('ingest')}"}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers=HEADERS | token, timeout=300, trust_env=False)
        )
        stop, quiet, during = asyncio.Event(), list[float](), list[float]()
        sender = asyncio.create_task(ordinary(client, quiet, stop))
        await asyncio.sleep(15)
        stop.set()
        await sender
        before = resident()

        harness.say(f"{SERIES} values of one label, {AT_ONCE} a request")
        stop.clear()
        sender = asyncio.create_task(ordinary(client, during, stop))
        began = time.perf_counter()
        refused = await explode(client)
        seconds = time.perf_counter() - began
        stop.set()
        await sender
        after = resident()
        connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("analysis"))
        signals = await connection.fetchval("SELECT count(*) FROM signals")
        await connection.close()
    if (refused, signals) != (SERIES - LIMIT, LIMIT + ORDINARY):
        raise RuntimeError(f"{refused} points were refused, and there are {signals} signals")
    quiet, during = sorted(quiet[10:]), sorted(during)
    medians = statistics.median(quiet) * 1000, statistics.median(during) * 1000
    harness.row("cardinality", "refused_points_per_s", refused / seconds, "points/s")
    harness.row(
        "cardinality",
        "memory_growth",
        after - before,
        "MiB",
        against=f"{before:.0f} MiB before",
        bar=100,
        ok=after - before <= 100,
    )
    harness.row(
        "cardinality",
        "p50_of_the_others",
        medians[1],
        "ms",
        against=f"{medians[0]:.1f} ms without the bomb; p99 {quiet[int(len(quiet) * 0.99)] * 1000:.1f} ms",
        ratio=medians[1] / medians[0],
    )
    harness.row("cardinality", "p99_of_the_others", during[int(len(during) * 0.99)] * 1000, "ms")


if __name__ == "__main__":
    asyncio.run(main())
