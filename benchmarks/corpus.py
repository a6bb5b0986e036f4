"""Many documents with vectors, made of the sentences of this project's own documents, and put into the index."""

import asyncio
import contextlib
import hashlib
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import harness
import numpy as np
import numpy.typing as npt

from plumbline_common import offload
from plumbline_search.documents import content
from plumbline_search.embedding import encoder, model_store
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.postings import merging
from plumbline_search.text import analysis
from plumbline_stack.layout import owner

SERVICES, TEAMS = 100, 10
QUESTIONS = 400
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Corpus:
    """`queries` (200, 384) are vectors of questions, `vectors` (n, 384) of the documents; all of length 1."""

    titles: list[str]
    bodies: list[str]
    vectors: npt.NDArray[np.float32]
    services: list[str]
    teams: list[str]
    halves: list[str]
    """"far" for the tenth that lies farthest from the queries, "near" for the rest."""
    queries: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    questions: list[str]


def _sentences() -> list[str]:
    root = harness.HERE.parent
    text = "\n".join(file.read_text() for file in [*root.glob("*.md"), *root.glob("docs/**/*.md")])
    found = re.split(r"(?<=[.:;])\s+|\n\n|\|", text)
    return sorted({" ".join(each.split()) for each in found if 25 < len(each) < 240})


async def made(number: int) -> Corpus:
    """A document is a few sentences; its vector is the mean of theirs, as the model would about have it."""
    sentences = _sentences()
    await offload.in_thread(encoder.load, model_store.default_cache())
    vectors = await offload.in_thread(encoder.encode, sentences)
    chosen = random.Random(7)
    noise = np.random.default_rng(7)
    titles, bodies, services = [], [], []
    found = np.empty((number, vectors.shape[1]), np.float32)
    for place in range(number):
        parts = chosen.sample(range(len(sentences)), chosen.randint(3, 7))
        titles.append(f"{sentences[parts[0]][:80]} {place}")
        bodies.append(" ".join(sentences[part] for part in parts) + f" host-{place % 5000} build {place}")
        found[place] = vectors[parts].sum(axis=0) + noise.normal(0, 0.02, vectors.shape[1])
        services.append(f"svc-{place % SERVICES}")
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    asked = found[noise.integers(0, number, 200)] + noise.normal(0, 0.01, (200, vectors.shape[1]))
    queries = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
    centre = queries.mean(axis=0)
    distance = found @ centre
    far = distance < np.quantile(distance, 0.1)
    words = [word for sentence in sentences for word in sentence.split() if word.isalpha()]
    questions = [" ".join(chosen.sample(words, chosen.randint(4, 9))) for _ in range(QUESTIONS)]
    return Corpus(
        titles,
        bodies,
        found,
        services,
        [f"team-{place % TEAMS}" for place in range(number)],
        ["far" if each else "near" for each in far],
        queries,
        centre / np.linalg.norm(centre),
        questions,
    )


async def filled(servers: harness.Servers, corpus: Corpus, *, hnsw: bool = True) -> None:
    """As the service writes them, by COPY: the embedding of so many texts alone takes half an hour."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn(owner("search")))
    try:
        await connection.execute("DROP INDEX ix_search_passages_0_384")
        first = await connection.fetchval("SELECT nextval('search_versions')")
        for start in range(0, len(corpus.titles), 20_000):
            places = range(start, min(start + 20_000, len(corpus.titles)))
            await _copy(connection, corpus, places, first)
            harness.say(f"{places.stop:,} documents")
        await connection.execute("SELECT setval('search_versions', (SELECT max(version) FROM search_documents))")
        began = time.monotonic()
        if not hnsw:
            await connection.execute("VACUUM ANALYZE search_documents, search_passages_0, search_fresh")
            return
        await connection.execute(
            "SET maintenance_work_mem = '2GB'; SET max_parallel_maintenance_workers = 2;"
            "CREATE INDEX ix_search_passages_0_384 ON search_passages_0 USING hnsw"
            " ((embedding::halfvec(384)) halfvec_ip_ops) WITH (m = 24, ef_construction = 128)"
            " WHERE vector_dims(embedding) = 384"
        )
        harness.say(f"HNSW in {time.monotonic() - began:.0f} s")
        await connection.execute("VACUUM ANALYZE search_documents, search_passages_0, search_fresh")
    finally:
        await connection.close()


async def _copy(connection: asyncpg.Connection, corpus: Corpus, places: range, first: int) -> None:
    documents, passages, fresh = [], [], []
    for place in places:
        version, title, body = first + place, corpus.titles[place], corpus.bodies[place]
        facets = json.dumps({"half": corpus.halves[place]})
        id = UUID(bytes=hashlib.sha256(str(place).encode()).digest()[:16])
        documents.append(
            (version, "runbook", id, str(place), 1, False, title, body, corpus.services[place], corpus.teams[place],
             facets, NOW)
        )  # fmt: skip
        passages.append((version, len(body), corpus.vectors[place].tolist()))
        counts: Counter[str] = content.counts_of(None, title, body)
        ids = np.array([analysis.term_id(term) for term in counts], "<i8").tobytes()
        often = np.array(list(counts.values()), "<u2").tobytes()
        fresh.append((version, sum(counts.values()), ids, often, list(counts)))
    columns = ["version", "kind", "entity_id", "external_id", "revision", "deleted", "title", "body", "service"]
    columns += ["team", "facets", "updated_at"]
    async with connection.transaction():
        await connection.execute(
            "CREATE TEMP TABLE new_passages (version int, stop int, vector real[]) ON COMMIT DROP;"
            "CREATE TEMP TABLE new_fresh (version int, length int, terms bytea, counts bytea, words text[])"
            " ON COMMIT DROP"
        )
        await connection.copy_records_to_table("search_documents", records=documents, columns=columns)
        await connection.copy_records_to_table("new_passages", records=passages)
        await connection.copy_records_to_table("new_fresh", records=fresh)
        await connection.execute(
            "INSERT INTO search_passages_0 (version, place, document, start, stop, kind, service, team, facets,"
            " updated_at, model, embedding)"
            " SELECT version, 0, id, 0, stop, kind, service, team, facets, updated_at, $1, vector::halfvec"
            " FROM new_passages JOIN search_documents USING (version) ORDER BY version",
            MODEL,
        )
        await connection.execute(
            "INSERT INTO search_fresh (slot, version, document, length, terms, counts, words)"
            " SELECT 0, version, id, length, terms, counts, words FROM new_fresh"
            " JOIN search_documents USING (version)"
            " ORDER BY version"
        )


async def merged(servers: harness.Servers) -> None:
    """Wait until the service has made runs of all that is fresh."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn(owner("search")))
    began = time.monotonic()
    while (left := await connection.fetchval("SELECT count(*) FROM search_fresh")) >= 256:
        await asyncio.sleep(1)
        if int(time.monotonic() - began) % 10 == 0:
            harness.say(f"{left:,} documents wait for their run")
    levels = "SELECT level, count(*) AS runs FROM search_runs GROUP BY level ORDER BY level"
    rows = await connection.fetch(levels)
    while any(row["runs"] >= merging.FAN_IN for row in rows):
        await asyncio.sleep(1)
        rows = await connection.fetch(levels)
    harness.say(f"runs by level: {[tuple(row) for row in rows]}, in {time.monotonic() - began:.0f} s")
    await connection.execute("VACUUM ANALYZE search_postings, search_fresh")
    await connection.close()


async def remembered(servers: harness.Servers, documents: int, workers: int) -> None:
    """Wait until each worker holds all passages in memory: it says so in its log."""
    log = servers.folder / "plumbline_search.log"
    held = re.compile(r"(\d+) passages are in memory")
    while sum(int(found[1]) >= documents for found in held.finditer(log.read_text())) < workers:
        await asyncio.sleep(1)


def resident(folder: Path) -> float:
    """Megabytes of a worker of the service that lie in memory."""
    status = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
            status[process.name] = (lines["PPid"].strip(), lines.get("VmRSS", "0").split()[0])
    for process in status:
        started = Path(f"/proc/{process}")
        is_uvicorn = b"uvicorn\0plumbline_search" in (started / "cmdline").read_bytes()
        if is_uvicorn and (started / "fd" / "1").readlink().is_relative_to(folder):
            return max(int(size) for own, (parent, size) in status.items() if process in (own, parent)) / 1024
    raise RuntimeError(f"no service runs in {folder}")
