"""What 1,000 requirements, events, series and points cost: bytes in PostgreSQL and JetStream, time of a processor.

The embedded stack with all of the suite. Processor time is that of all its processes, above what they use while
nothing comes. Sizes are of tables with their indexes, as they are after the writes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import harness
import httpx

from plumbline_stack.supervisor import Stack

REQUIREMENTS = 3_000
SERIES = 1_000
POINTS = 60
IDLE_SECONDS = 15
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'm')"""


class Costs:
    """What the stack holds and has used."""

    def __init__(self, stack: Stack, database: asyncpg.Connection) -> None:
        self._stack = stack
        self._database = database

    async def size(self, schema: str) -> int:
        return int(await self._database.fetchval(_SIZE, schema))

    async def stream(self) -> tuple[int, int]:
        """Messages and bytes of all streams."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found = (await client.get(f"{self._stack.urls['nats_monitor']}/jsz")).raise_for_status().json()
        return int(found["messages"]), int(found["bytes"])

    @staticmethod
    def seconds() -> float:
        """Of a processor, by all processes so far."""
        return harness.total(lambda child: sum(child.cpu_times()[:2]))


def requirement(number: int) -> dict[str, Any]:
    """As people write them: some sentences, labels, and one SLO."""
    objective = {
        "name": "latency",
        "indicator": {
            "thresholdMetric": {
                "metricSource": {
                    "spec": {
                        "metric": f"http.server.request.duration.{number}",
                        "attributes": {"service.name": f"service-{number % 50}"},
                        "aggregation": "mean",
                    }
                }
            }
        },
        "timeWindow": [{"duration": "30d"}],
        "objectives": [{"op": "lte", "value": 0.3, "target": 0.999}],
    }
    return {
        "title": f"Operation {number} of the checkout answers 99.9 % of requests within 300 ms",
        "description": "Customers leave where a page takes longer; measured at the gateway, over thirty days.",
        "statement": f"The service shall answer operation {number} within 300 ms, for 99.9 % of requests in 30 days.",
        "rationale": "Of those who wait for more than a second every tenth buys elsewhere.",
        "owner_team": "shop",
        "service": f"service-{number % 50}",
        "labels": {"tier": "1", "area": f"area-{number % 7}"},
        "slos": [objective],
    }


def points(first: int, at: datetime) -> list[dict[str, Any]]:
    resource = {"service.name": "shop", "service.instance.id": "one"}
    return [
        {
            "metric": f"queue.depth.{number}",
            "value": number + at.second / 7,
            "time": at.isoformat(),
            "resource": resource,
        }
        for number in range(first, first + SERIES)
    ]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Stack, Costs]]:
    async with harness.suite(otlp_interval=60, traced_percent=1) as stack:
        database = await asyncpg.connect(stack.dsn("requirements").replace("+asyncpg", ""))
        try:
            yield stack, Costs(stack, database)
        finally:
            await database.close()


async def all_found(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(300):
        while True:
            reply = await client.get("/api/v1/search", params={"q": "operation", "kinds": "requirement", "limit": 1})
            if reply.raise_for_status().json()["total"] >= REQUIREMENTS:
                return
            await asyncio.sleep(0.5)


async def sent(client: httpx.AsyncClient, at: datetime) -> None:
    reply = await client.post("/api/v1/telemetry/points", json={"points": points(0, at)})
    reply.raise_for_status()


def told(metric: str, value: float, unit: str, against: str) -> None:
    harness.row("capacity", metric, value, unit, against=against)


async def main() -> None:
    async with running() as (stack, costs):
        token = stack.token("admin", teams=["shop"])
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            base_url=stack.urls["gateway"], headers=headers, timeout=120, trust_env=False
        ) as client:
            await asyncio.sleep(5)
            began, used = time.monotonic(), costs.seconds()
            await asyncio.sleep(IDLE_SECONDS)
            idle = (costs.seconds() - used) / (time.monotonic() - began)
            told("idle_processors", idle, "processors", "all processes of the suite while nothing comes")

            harness.say(f"{REQUIREMENTS} requirements")
            sizes = {schema: await costs.size(schema) for schema in ("requirements", "search", "analysis")}
            messages, held = await costs.stream()
            began, used = time.monotonic(), costs.seconds()
            for first in range(0, REQUIREMENTS, 1000):
                items = [{"op": "create", "content": requirement(n)} for n in range(first, first + 1000)]
                reply = (await client.post("/api/v1/requirements/bulk", json={"items": items})).raise_for_status()
                faults = [each for each in reply.json()["items"] if each["status"] != 201]
                if faults:
                    raise RuntimeError(str(faults[0]))
            await all_found(client)
            spent = costs.seconds() - used - idle * (time.monotonic() - began)
            thousands = REQUIREMENTS / 1000
            for schema, before in sizes.items():
                grown = (await costs.size(schema) - before) / 1e6 / thousands
                told(f"{schema}_mb_per_1000_requirements", grown, "MB", "PostgreSQL, with an SLO each, written once")
            after, now = await costs.stream()
            told("events_per_requirement", (after - messages) / REQUIREMENTS, "events", "created, an SLO defined")
            told("jetstream_mb_per_1000_events", (now - held) / 1e6 / ((after - messages) / 1000), "MB", "one copy")
            told("processor_s_per_1000_requirements", spent / thousands, "s", "written, published, embedded, found")

            harness.say(f"{SERIES} series of {POINTS} points")
            start = datetime.now(UTC) - timedelta(seconds=10 * POINTS)
            before = await costs.size("analysis")
            await sent(client, start)
            with_series = await costs.size("analysis")
            told("analysis_kb_per_series", (with_series - before) / 1e3 / SERIES, "kB", "its first point included")
            began, used = time.monotonic(), costs.seconds()
            for number in range(1, POINTS):
                await sent(client, start + timedelta(seconds=10 * number))
            took = time.monotonic() - began
            spent = costs.seconds() - used - idle * took
            stored = (POINTS - 1) * SERIES
            told(
                "bytes_per_point",
                (await costs.size("analysis") - with_series) / stored,
                "bytes",
                "PostgreSQL, kept 35 d",
            )
            told("processor_ms_per_1000_points", 1e3 * spent / (stored / 1000), "ms", "JSON through the gateway")
            memory = harness.total(lambda child: child.memory_info().rss) / 1e6
            told("memory_mb", memory, "MB", "resident, all processes, shared pages counted in each")


if __name__ == "__main__":
    asyncio.run(main())
