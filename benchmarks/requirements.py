"""Reads and writes of 1,000,000 requirements with 3,000,000 revisions against 10,000, and against bare asyncpg."""

import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import harness
import httpx
import population
import psutil

from plumbline_requirements.linting.rules import Subject, lint
from plumbline_requirements.listing import rules
from plumbline_requirements.listing.schemas import ListQuery
from plumbline_requirements.listing.service import _PAGING

MANY = int(os.environ.get("BENCH_REQUIREMENTS", "1000000"))
FEW = 10_000
DEPTH = MANY * 9 // 10
ROUNDS = 3
CONNECTIONS = 8
EXPORTED = 100_000
APP = "plumbline_requirements.main:create_app"
LIST = "/api/v1/requirements"
FILTER = f"{LIST}?service=service-7&status=active"


async def main() -> None:
    _lint()
    await _interchange()
    async with harness.servers() as small, harness.servers() as large:
        for servers in (small, large):
            await harness.migrate(servers, "requirements")
        async with (
            harness.uvicorn(APP, small.environment("requirements"), small.folder) as few,
            harness.uvicorn(APP, large.environment("requirements"), large.folder) as many,
        ):
            began = time.monotonic()
            few_ids = await _filled(few, small, FEW)
            many_ids = await _filled(many, large, MANY)
            harness.say(f"{MANY:,} requirements and {3 * MANY:,} revisions in {time.monotonic() - began:.0f} s")
            await _folded(large)
            await _reads(small, large, few, many, few_ids, many_ids)
            await _impact(small, few)
            await _writes(large, many)


def _lint() -> None:
    """Sentences a second on one core, of the labelled ones, each with the rules' whole work."""
    file = harness.HERE.parent / "services" / "requirements" / "tests" / "linting" / "sentences.tsv"
    statements = [line.split("\t")[2] for line in file.read_text().splitlines()[1:]]
    rates = []
    for _ in range(ROUNDS * 5):
        began = time.perf_counter()
        for statement in statements:
            lint(Subject(statement=statement))
        rates.append(len(statements) / (time.perf_counter() - began))
    rate = statistics.median(rates)
    harness.row("requirements", "lint_sentences_per_s", rate, "sentences/s", bar=20_000, ok=rate >= 20_000)


async def _interchange() -> None:
    """100,000 requirements out in each format, and into an empty instance again.

    The memory is the most that the service's process ever had, measured after all exports.
    """
    async with harness.servers() as source, harness.servers() as target:
        for servers in (source, target):
            await harness.migrate(servers, "requirements")
        async with (
            harness.uvicorn(APP, source.environment("requirements"), source.folder) as full,
            harness.uvicorn(APP, target.environment("requirements"), target.folder) as empty,
        ):
            await _filled(full, source, EXPORTED)
            file = source.folder / "export.ndjson"
            for form in ("csv", "json", "reqif", "markdown", "html", "ndjson"):
                began = time.monotonic()
                size = await _downloaded(source, full, form, file)
                seconds = time.monotonic() - began
                harness.say(f"{form}: {size / 1e6:.0f} MB, {EXPORTED / seconds:,.0f} requirements/s")
            most = _most_memory(full)
            harness.row("requirements", "export_100k_rss_mb", most, "MB peak", bar=300, ok=most <= 300)
            began = time.monotonic()
            async with _client(target, empty) as client:
                headers = {"Content-Type": "application/x-ndjson"}
                with file.open("rb") as content:
                    sent = await client.post(f"{LIST}/import", content=_blocks(content), headers=headers, timeout=900)
            done = json.loads(sent.raise_for_status().text.splitlines()[-1])["done"]
            if done["created"] != EXPORTED or not done["written"]:
                raise RuntimeError(f"the import did not take all: {done}")
            harness.row("requirements", "import_100k_per_s", EXPORTED / (time.monotonic() - began), "requirements/s")
            harness.row("requirements", "import_100k_rss_mb", _most_memory(empty), "MB peak")


async def _blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while block := file.read(1024 * 1024):
        yield block


async def _downloaded(servers: harness.Servers, url: str, form: str, to: Path) -> int:
    async with _client(servers, url) as client:
        with to.open("wb") as file:
            async with client.stream("GET", f"{LIST}/export", params={"format": form}, timeout=600) as response:
                async for chunk in response.raise_for_status().aiter_raw():
                    file.write(chunk)
    return to.stat().st_size


def _most_memory(url: str) -> float:
    """The most memory that the process which listens there ever had, in MB."""
    port = int(url.rpartition(":")[2])
    (pid,) = {
        each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port
    }
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def _client(servers: harness.Servers, url: str) -> httpx.AsyncClient:
    token = servers.issuer.token("editor", "admin")
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60)


async def _impact(servers: harness.Servers, url: str) -> None:
    """The first page of what a change reaches: 100,000 links among 10,000 requirements, all of which are reached.

    Each requirement derives from ten that are before it, taken by chance.
    """
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn())
    ids = [
        str(row["id"]) for row in await connection.fetch("SELECT id FROM requirements.requirements ORDER BY number")
    ]
    numbers = random.Random(1)
    pairs = {
        (ids[place], ids[numbers.randrange(place)])
        for place in range(1, len(ids))
        for _ in range(10 if place > 10 else place)
    }
    while len(pairs) < 100_000:
        place = numbers.randrange(1, len(ids))
        pairs.add((ids[place], ids[numbers.randrange(place)]))
    await connection.execute(
        "INSERT INTO requirements.links SELECT gen_random_uuid(), 'derives', source, target, '', NULL, '', 1, NULL,"
        " 1, now(), 'bench', now(), 'bench' FROM unnest($1::uuid[], $2::uuid[]) AS pair (source, target)",
        [source for source, _ in pairs],
        [target for _, target in pairs],
    )
    await connection.execute("VACUUM ANALYZE requirements.links")
    await connection.close()
    times = []
    async with _client(servers, url) as client:
        for _ in range(20):
            began = time.perf_counter()
            answer = (await client.get(f"{LIST}/{ids[0]}/impact")).raise_for_status().json()
            times.append(1000 * (time.perf_counter() - began))
    harness.say(f"impact: {len(pairs):,} links, {answer['total']:,} requirements reached")
    median = statistics.median(times)
    harness.row("requirements", "impact_query_100k_links_ms", median, "ms p50", bar=100, ok=median <= 100)


async def _filled(url: str, servers: harness.Servers, number: int) -> list[str]:
    async with _client(servers, url) as client:
        return await population.populate(servers.postgres, client, number, revisions=3)


async def _folded(servers: harness.Servers) -> None:
    """Wait until the service has folded what the copies counted."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("requirements"))
    while await connection.fetchval("SELECT count(*) FROM requirement_count_deltas"):
        await asyncio.sleep(1)
    await connection.close()


async def _reads(
    small: harness.Servers, large: harness.Servers, few: str, many: str, few_ids: list[str], many_ids: list[str]
) -> None:
    async with _client(large, many) as client:
        assert (await client.get(LIST)).json()["total"] >= MANY
    cursor = await _cursor(large)
    pairs: dict[str, tuple[tuple[harness.Servers, str, list[str]], tuple[harness.Servers, str, list[str]]]] = {
        "get_1m_vs_10k": (
            (small, few, [f"{LIST}/{id}" for id in few_ids]),
            (large, many, [f"{LIST}/{id}" for id in many_ids]),
        ),
        "first_page_1m_vs_10k": ((small, few, [LIST]), (large, many, [LIST])),
        "filtered_page_1m_vs_10k": ((small, few, [FILTER]), (large, many, [FILTER])),
        "keyset_deep_vs_first": ((large, many, [LIST]), (large, many, [f"{LIST}?cursor={quote(cursor)}"])),
    }
    for metric, sides in pairs.items():
        ratios, seen = [], []
        for servers, url, paths in sides:
            await harness.wrk(url, paths, servers.issuer.token("viewer"), connections=1, seconds=1)
        for _ in range(ROUNDS):
            base, ours = [
                await harness.wrk(url, paths, servers.issuer.token("viewer"), connections=1, seconds=3)
                for servers, url, paths in sides
            ]
            if base.errors or ours.errors:
                sys.exit(f"{metric}: requests failed")
            ratios.append(ours.p50_ms / base.p50_ms)
            seen.append(ours.p50_ms)
            harness.say(f"{metric}: p50 {ours.p50_ms:.2f} ms against {base.p50_ms:.2f} ms")
        ratio = statistics.median(ratios)
        against = "the first page" if metric.startswith("keyset") else "10,000 requirements"
        harness.row(
            "requirements",
            metric,
            statistics.median(seen),
            "ms p50",
            against=against,
            ratio=ratio,
            bar=2.0,
            ok=ratio <= 2,
        )


async def _cursor(servers: harness.Servers) -> str:
    """The place that a walk over `DEPTH` requirements has come to."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("requirements"))
    await connection.execute("SET statement_timeout = 0")
    id = await connection.fetchval("SELECT id FROM requirements ORDER BY id DESC OFFSET $1 LIMIT 1", DEPTH)
    await connection.close()
    made_for = rules.fingerprint(ListQuery().model_dump(mode="json", exclude=_PAGING, exclude_defaults=True))
    return rules.cursor_of(made_for, [str(id)])


async def _writes(servers: harness.Servers, url: str) -> None:
    ratios, rates = [], []
    for number in range(ROUNDS + 1):
        ours = await _through_api(servers, url)
        raw = await _raw(servers)
        harness.say(f"creates: {ours:.0f}/s, bare asyncpg {raw:.0f}/s")
        if number:
            ratios.append(ours / raw)
            rates.append(ours)
    ratio = statistics.median(ratios)
    harness.row(
        "requirements", "create_vs_raw_asyncpg", statistics.median(rates), "creates/s",
        against="a bare asyncpg transaction with the same rows", ratio=ratio, bar=0.5, ok=ratio >= 0.5,
    )  # fmt: skip


async def _through_api(servers: harness.Servers, url: str, seconds: int = 5) -> float:
    """Creates a second with an Idempotency-Key each, by wrk."""
    token = servers.issuer.token("editor")
    load = await harness.wrk(
        url, [LIST], token, connections=CONNECTIONS, seconds=seconds, body=json.dumps(population.CONTENT)
    )
    if load.errors:
        sys.exit(f"{load.errors} creates failed")
    return load.requests_per_s


async def _raw(servers: harness.Servers, seconds: float = 5) -> float:
    """Transactions a second that write the rows of one create, taken from the newest, with prepared statements."""
    pool = await asyncpg.create_pool(
        servers.postgres.asyncpg_dsn("requirements"), min_size=CONNECTIONS, max_size=CONNECTIONS
    )
    rows: dict[str, dict[str, Any]] = {}
    tables = {
        "requirements": "ORDER BY id DESC",
        "requirement_revisions": "ORDER BY requirement_id DESC",
        "audit_entries": "ORDER BY seq DESC",
        "requirement_count_deltas": "ORDER BY seq DESC",
        "outbox": "ORDER BY seq DESC",
        "idempotency_keys": "ORDER BY created_at DESC",
    }
    # Numbered by the table itself, as ours are by a sequence.
    generated = {"audit_entries": ("seq", "position", "hash"), "requirement_count_deltas": ("seq",),
                 "outbox": ("seq", "position"), "requirements": ("number",)}  # fmt: skip
    async with pool.acquire() as connection:
        for table, order in tables.items():
            row = None
            while row is None:
                row = await connection.fetchrow(f"SELECT * FROM {table} {order} LIMIT 1")
                if row is None:  # the deltas are folded each second
                    await connection.execute(
                        "INSERT INTO requirement_count_deltas (change, status, type, priority)"
                        " VALUES (1, 'draft', 'other', 'should')"
                    )
            rows[table] = {name: value for name, value in row.items() if name not in generated.get(table, ())}
    statements = {
        table: f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f'${n + 1}' for n in range(len(row)))})"
        for table, row in rows.items()
    }
    done = 0
    ends = time.monotonic() + seconds
    counter = itertools.count()

    async def write() -> None:
        nonlocal done
        async with pool.acquire() as connection:
            while time.monotonic() < ends:
                id = uuid4()
                fresh = {"requirements": {"id": id}, "requirement_revisions": {"requirement_id": id},
                         "outbox": {"id": id}, "idempotency_keys": {"key": f"raw-{next(counter)}-{id}"}}  # fmt: skip
                async with connection.transaction():
                    for table, statement in statements.items():
                        await connection.execute(statement, *(rows[table] | fresh.get(table, {})).values())
                    await connection.execute("SELECT pg_notify('outbox_requirements', '')")
                done += 1

    began = time.monotonic()
    await asyncio.gather(*(write() for _ in range(CONNECTIONS)))
    await pool.close()
    return done / (time.monotonic() - began)


if __name__ == "__main__":
    asyncio.run(main())
