"""Search: quality on public judgements, and speed at 100,000 documents against Chroma, each through HTTP.

`python benchmarks/search.py [quality] [vectors] [text] [bulk] [million]`: these parts of it.
"""

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import bm25s
import corpus
import harness
import httpx
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import safetensors.numpy
from tokenizers import Tokenizer

from plumbline_cli import evaluation
from plumbline_cli.client import Gateway
from plumbline_common import bus
from plumbline_search.documents import content
from plumbline_search.embedding import bert_graph, encoder, model_store
from plumbline_search.postings import scoring
from plumbline_search.text import analysis
from plumbline_stack import ports

APP = "plumbline_search.main:create_app"
SEARCH = "/api/v1/search"
DOCUMENTS = int(os.environ.get("BENCH_DOCUMENTS", "100000"))
JUDGED = Path(os.environ.get("BENCH_IR", harness.HERE.parents[1] / "shared" / "data" / "ir"))
CHROMA = "chromadb==1.5.9"
EF_CHROMA = 220
"""Chroma's recall@10 is then 0.96 on these vectors, the same as is asked of us; with 60 it is 0.87."""
WORKERS = 2
"""Of uvicorn, one for each core: the same in every part."""
SECONDS = 6.0
ROUNDS = 3
BULK = int(os.environ.get("BENCH_BULK", "3000"))
MILLION = int(os.environ.get("BENCH_MILLION", "1000000"))
NEAREST = 10

Vectors = npt.NDArray[np.float32]


async def main() -> None:
    wanted = set(sys.argv[1:]) or {"quality", "vectors", "text", "bulk", "million"}
    if "quality" in wanted:
        await _quality()
    if wanted & {"vectors", "text"}:
        await _speed(wanted)
    if "bulk" in wanted:
        await _bulk()
    if "million" in wanted:
        await _million()


# --- Quality --------------------------------------------------------------------------------------------


async def _quality() -> None:
    if not JUDGED.is_dir():
        harness.say(f"quality is left out: there are no collections in {JUDGED}; say where with BENCH_IR")
        return
    for name, least, gain in (("cranfield", 0.44, 0.03), ("runbooks", None, 0.02)):
        collection = evaluation.read(JUDGED / name)
        async with harness.servers() as servers:
            await harness.migrate(servers, "search")
            async with (
                harness.uvicorn(APP, servers.environment("search"), servers.folder, workers=WORKERS) as url,
                Gateway(url, servers.issuer.token("admin"), 60) as gateway,
            ):
                await _given(gateway, evaluation.lines(collection))
                figures = await evaluation.measure(gateway.search, collection, lambda: None)
        ndcg = {way: row["ndcg@10"] for way, row in figures.items()}
        harness.say(f"{name}: {', '.join(f'{way} {value:.4f}' for way, value in ndcg.items())}")
        better = max(ndcg["lexical"], ndcg["vector"])
        fused = ndcg["fused by scores"]
        ok = None if least is None else fused >= least
        harness.row("search", f"{name}_ndcg10", fused, "nDCG@10", bar=least, ok=ok)
        harness.row(
            "search", f"{name}_hybrid_gain", fused - better, "nDCG@10",
            against=f"the better leg, {better:.4f}", bar=gain, ok=fused - better >= gain,
        )  # fmt: skip
        if name == "cranfield":
            gap = ndcg["lexical"] - _bm25s(collection)
            harness.row(
                "search", "bm25_vs_bm25s_ndcg_gap", gap, "nDCG@10",
                against="bm25s, the same terms and parameters", bar=-0.002, ok=abs(gap) <= 0.002,
            )  # fmt: skip


def _bm25s(collection: evaluation.Collection) -> float:
    """nDCG@10 of bm25s on our terms."""
    retriever = bm25s.BM25(method="lucene", k1=scoring.K1, b=scoring.B)
    ids = list(collection.corpus)
    retriever.index([analysis.terms(collection.corpus[id]["text"]) for id in ids], show_progress=False)
    scores = []
    for query in collection.judged:
        terms = analysis.terms(collection.queries[query])
        found, _ = retriever.retrieve([terms], k=10, show_progress=False)
        ranking = [ids[place] for place in found[0].tolist()]
        scores.append(evaluation.scored(ranking, collection.judgements[query])["ndcg@10"])
    return statistics.mean(scores)


async def _given(gateway: Gateway, lines: Any) -> None:
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    *_, last = [line async for line in gateway.lines("/api/v1/documents/lines", "POST", content=raw, headers=headers)]
    if json.loads(last)["failed"]:
        raise RuntimeError(last.decode())


# --- Speed ----------------------------------------------------------------------------------------------


async def _speed(wanted: set[str]) -> None:
    made = await corpus.made(DOCUMENTS)
    async with harness.servers() as servers:
        await harness.migrate(servers, "search")
        began = time.monotonic()
        await corpus.filled(servers, made)
        harness.say(f"{DOCUMENTS:,} documents in {time.monotonic() - began:.0f} s")
        await _streams(servers)
        async with harness.uvicorn(APP, servers.environment("search"), servers.folder, workers=WORKERS) as url:
            token = servers.issuer.token("viewer", expires_in=6 * 3600)
            await corpus.merged(servers)
            await corpus.remembered(servers, len(made.vectors), WORKERS)
            async with _chroma(made) as chroma:
                if "vectors" in wanted:
                    await _vectors(servers, url, token, made, chroma)
                if "text" in wanted:
                    await _text(url, token, made, chroma)


async def _streams(servers: harness.Servers) -> None:
    """What the producers would have made: without them the service looks for them again and again."""
    broker = bus.Broker(servers.nats.admin_url, "bench")
    await broker.connect()
    await broker.ensure_streams(["requirements", "analysis"])
    await broker.close()


@contextlib.asynccontextmanager
async def _chroma(made: corpus.Corpus) -> AsyncIterator[str]:
    """Chroma's own server with the same vectors and metadata; yields the address of its collection's queries."""
    uv = shutil.which("uv") or str(harness.HERE.parent / ".uv" / "bin" / "uv")
    port = ports.choose()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        command = [uv, "tool", "run", "--quiet", "--from", CHROMA, "chroma", "run"]
        command += ["--path", f"{name}/data", "--port", str(port)]
        log = Path(name) / "chroma.log"
        async with harness.process(*command, environment={"ANONYMIZED_TELEMETRY": "False"}, log=log) as child:
            base = f"http://127.0.0.1:{port}/api/v2"
            async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
                await _until_up(client, f"{base}/heartbeat", child)
                collections = f"{base}/tenants/default_tenant/databases/default_database/collections"
                hnsw = {"space": "ip", "ef_construction": 64, "max_neighbors": 16, "ef_search": EF_CHROMA}
                body = {"name": "bench", "configuration": {"hnsw": hnsw}}
                answer = (await client.post(collections, json=body)).raise_for_status().json()
                collection = f"{collections}/{answer['id']}"
                for start in range(0, len(made.vectors), 2000):
                    stop = start + 2000
                    part = {
                        "ids": [str(number) for number in range(start, min(stop, len(made.vectors)))],
                        "embeddings": made.vectors[start:stop].tolist(),
                        "metadatas": [
                            {"service": service, "team": team}
                            for service, team in zip(made.services[start:stop], made.teams[start:stop], strict=True)
                        ],
                    }
                    (await client.post(f"{collection}/add", json=part)).raise_for_status()
            harness.say("Chroma has them too")
            yield f"{collection}/query"


async def _until_up(client: httpx.AsyncClient, url: str, child: asyncio.subprocess.Process) -> None:
    for _ in range(3000):
        if child.returncode is not None:
            raise RuntimeError("Chroma's server ended")
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get(url)).is_success:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError("Chroma's server did not get ready")


class Connection:
    """One kept connection that sends ready requests: the client's own work is little and the same for all."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = httpx.URL(url)
        self._host, self._port = parts.host, parts.port
        lines = [f"POST {parts.raw_path.decode()} HTTP/1.1", f"Host: {parts.host}", "Content-Type: application/json"]
        self._head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=1 << 22)

    def request(self, body: bytes) -> bytes:
        return f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def send(self, request: bytes) -> bytes:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode() + (await self._reader.read(2000)).decode())
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return await self._reader.readexactly(int(line[15:]))
        raise RuntimeError(head.decode())

    def close(self) -> None:
        self._writer.close()


async def load(
    url: str, headers: dict[str, str], bodies: Sequence[bytes], clients: int, seconds: float
) -> tuple[float, list[float]]:
    """Requests a second, and each one's milliseconds."""
    until = time.perf_counter() + seconds
    took: list[float] = []

    async def client(number: int) -> None:
        connection = Connection(url, headers)
        await connection.open()
        requests = [connection.request(body) for body in bodies]
        turn = number * 31
        while (began := time.perf_counter()) < until:
            await connection.send(requests[turn % len(requests)])
            took.append((time.perf_counter() - began) * 1000)
            turn += 1
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    return len(took) / (time.perf_counter() - began), took


async def answers(url: str, headers: dict[str, str], bodies: Sequence[bytes]) -> list[Any]:
    connection = Connection(url, headers)
    await connection.open()
    found = [json.loads(await connection.send(connection.request(body))) for body in bodies]
    connection.close()
    return found


async def _vectors(servers: harness.Servers, url: str, token: str, made: corpus.Corpus, chroma: str) -> None:
    ours: dict[str, str] = {"Authorization": f"Bearer {token}"}
    theirs: dict[str, str] = {}
    cases: list[tuple[str, dict[str, Any], dict[str, Any], npt.NDArray[np.bool_], float, float | None]] = [
        ("vector", {}, {}, np.ones(len(made.vectors), bool), 0.96, None),
        ("filter1", {"service": "svc-7"}, {"service": "svc-7"}, np.array(made.services) == "svc-7", 0.98, 10),
        ("filter10", {"team": "team-3"}, {"team": "team-3"}, np.array(made.teams) == "team-3", 0.98, 8),
    ]
    for name, filters, where, mask, least, bar in cases:
        exact = _exact(made, made.queries, mask)
        mine = [_asked(query, filters) for query in made.queries]
        other = [_asked_chroma(query, where) for query in made.queries]
        found = [
            [hit["external_id"] for hit in answer["items"]] for answer in await answers(url + SEARCH, ours, mine)
        ]
        recall = _recall(found, exact)
        known = [answer["ids"][0] for answer in await answers(chroma, theirs, other)]
        harness.row("search", f"{name}_recall10", recall, "recall@10", against=f"Chroma {_recall(known, exact):.4f}",
                    bar=least, ok=recall >= least)  # fmt: skip
        for clients, ratio_bar in ((1, 1.5), (8, 2.5)) if bar is None else ((1, bar), (8, bar)):
            rates: dict[str, list[float]] = {"ours": [], "chroma": []}
            for _ in range(ROUNDS):
                rates["ours"].append((await load(url + SEARCH, ours, mine, clients, SECONDS))[0])
                rates["chroma"].append((await load(chroma, theirs, other, clients, SECONDS))[0])
            mean = {who: statistics.median(each) for who, each in rates.items()}
            ratio = mean["ours"] / mean["chroma"]
            metric = f"{name}_qps_c{clients}_vs_chroma" if bar is None or clients == 8 else f"{name}_qps_vs_chroma"
            harness.row("search", metric, mean["ours"], "requests/s", against=f"Chroma {mean['chroma']:.0f}/s",
                        ratio=ratio, bar=ratio_bar, ok=ratio >= ratio_bar)  # fmt: skip
    # Each query is asked within the tenth of the documents that lie farthest from it.
    far = made.vectors @ made.centre
    correlated = np.array(made.halves) == "far"
    exact = _exact(made, made.queries, correlated)
    harness.say(
        f"correlated: {int(correlated.sum())} documents, cosine with the queries' centre up to {far.max():.2f}"
    )
    mine = [_asked(query, {"filter": {"facet": "half", "in": ["far"]}}) for query in made.queries]
    found = [[hit["external_id"] for hit in answer["items"]] for answer in await answers(url + SEARCH, ours, mine)]
    recall = _recall(found, exact)
    harness.row("search", "filter_correlated_recall10", recall, "recall@10", bar=0.98, ok=recall >= 0.98)
    await _overhead(servers, url, ours, made)


async def _overhead(servers: harness.Servers, url: str, headers: dict[str, str], made: corpus.Corpus) -> None:
    """What HTTP and the service add to the bare query, one client."""
    connection = await asyncpg.connect(servers.postgres.asyncpg_dsn("search"))
    await connection.execute("SET hnsw.ef_search = 28; SET jit = off; SET plan_cache_mode = force_generic_plan")
    nearest = await connection.prepare(
        "SELECT version FROM search_passages_0 WHERE vector_dims(embedding) = 384"
        " ORDER BY embedding::halfvec(384) <#> (SELECT $1::real[]::halfvec(384)) LIMIT 10"
    )
    bodies = [_asked(query, {}) for query in made.queries]
    bare, through = [], []
    for _ in range(ROUNDS):
        for query in made.queries:
            began = time.perf_counter()
            await nearest.fetch(query.tolist())
            bare.append((time.perf_counter() - began) * 1000)
        through += (await load(url + SEARCH, headers, bodies, 1, SECONDS))[1]
    await connection.close()
    added = statistics.median(through) - statistics.median(bare)
    harness.row("search", "http_over_asyncpg_p50_ms", added, "ms",
                against=f"asyncpg {statistics.median(bare):.2f} ms", bar=1.0, ok=added <= 1.0)  # fmt: skip


def _exact(made: corpus.Corpus, queries: Vectors, mask: npt.NDArray[np.bool_]) -> list[set[str]]:
    places = np.flatnonzero(mask)
    scores = queries @ made.vectors[places].T
    return [set(map(str, places[np.argsort(-row)[:NEAREST]].tolist())) for row in scores]


def _recall(found: Sequence[Sequence[str]], exact: Sequence[set[str]]) -> float:
    return statistics.mean(len(set(each) & right) / len(right) for each, right in zip(found, exact, strict=True))


def _asked(vector: npt.NDArray[np.float32], filters: dict[str, Any]) -> bytes:
    numbers = [round(float(component), 6) for component in vector]
    return json.dumps({"vector": numbers, "limit": NEAREST, **filters}).encode()


def _asked_chroma(vector: npt.NDArray[np.float32], where: dict[str, Any]) -> bytes:
    numbers = [round(float(component), 6) for component in vector]
    body: dict[str, Any] = {"query_embeddings": [numbers], "n_results": NEAREST, "include": ["distances"]}
    return json.dumps(body | ({"where": where} if where else {})).encode()


async def at_rate(
    url: str, headers: dict[str, str], bodies: Sequence[bytes], rate: float, connections: int = 8
) -> list[float]:
    """Each request's milliseconds, the quickest first, where `rate` are sent a second, whatever the answers take."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        connection = Connection(url, headers)
        await connection.open()
        free.put_nowait(connection)
    took: list[float] = []

    async def ask(body: bytes) -> None:
        began = time.perf_counter()
        connection = await free.get()
        await connection.send(connection.request(body))
        took.append((time.perf_counter() - began) * 1000)
        free.put_nowait(connection)

    tasks = []
    for body in bodies:
        tasks.append(asyncio.create_task(ask(body)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait().close()
    return sorted(took)


def p99(took: Sequence[float]) -> float:
    return took[int(len(took) * 0.99)]


async def _text(url: str, token: str, made: corpus.Corpus, chroma: str) -> None:
    """Questions that nobody asked before, ten a second; then the same ones again; then one after the other."""
    headers = {"Authorization": f"Bearer {token}"}
    bodies = [json.dumps({"query": question, "limit": 10}).encode() for question in made.questions]
    first = await at_rate(url + SEARCH, headers, bodies[:300], 10)
    harness.row("search", "text_p50_ms", statistics.median(first), "ms", bar=25, ok=statistics.median(first) <= 25)
    harness.row("search", "text_p99_ms", p99(first), "ms", bar=80, ok=p99(first) <= 80)
    again = statistics.median(await at_rate(url + SEARCH, headers, bodies[:300], 10))
    harness.row("search", "cached_p50_ms", again, "ms", bar=8, ok=again <= 8)
    ours, theirs = Connection(url + SEARCH, headers), Connection(chroma, {})
    await ours.open()
    await theirs.open()
    embed = await asyncio.to_thread(_default_of_chroma)
    spent = {"ours": 0.0, "chroma": 0.0}
    for body, question in zip(bodies[300:], made.questions[300:], strict=True):
        began = time.perf_counter()
        await ours.send(ours.request(body))
        spent["ours"] += time.perf_counter() - began
        began = time.perf_counter()
        vector = await asyncio.to_thread(embed, question)
        await theirs.send(theirs.request(_asked_chroma(vector, {})))
        spent["chroma"] += time.perf_counter() - began
    number = len(bodies) - 300
    ratio = spent["chroma"] / spent["ours"]
    harness.row("search", "text_vs_chroma", number / spent["ours"], "requests/s",
                against=f"Chroma with its model in float32, {number / spent['chroma']:.0f}/s",
                ratio=ratio, bar=2, ok=ratio >= 2)  # fmt: skip
    ours.close()
    theirs.close()


def _default_of_chroma() -> Callable[[str], Vectors]:
    """MiniLM-L6-v2 in float32 on all cores, as Chroma's client embeds by default: its own file lies in the cloud."""
    files = model_store.source()
    config = json.loads((files / "config.json").read_text())
    shape = bert_graph.Shape(
        layers=config["num_hidden_layers"], heads=config["num_attention_heads"], epsilon=config["layer_norm_eps"]
    )
    graph = bert_graph.build(safetensors.numpy.load_file(files / "model.safetensors"), shape)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)

    def embed(text: str) -> Vectors:
        tokens = np.array([tokenizer.encode(text).ids], np.int64)
        (found,) = session.run(["embedding"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
        vector: Vectors = found[0]
        return vector

    return embed


# --- Many documents at once -----------------------------------------------------------------------------


async def _bulk() -> None:
    """Documents by lines against the model alone, and what questions take meanwhile."""
    made = await corpus.made(BULK + 200)
    async with harness.servers() as servers:
        await harness.migrate(servers, "search")
        await _streams(servers)
        environment = servers.environment("search", PLUMBLINE_SEARCH_WATCHDOG_THRESHOLD_MS="100")
        async with harness.uvicorn(APP, environment, servers.folder, workers=WORKERS) as url:
            editor = servers.issuer.token("admin", expires_in=6 * 3600)
            headers = {"Authorization": f"Bearer {servers.issuer.token('viewer', expires_in=6 * 3600)}"}
            async with Gateway(url, editor, 600) as gateway:
                await _given(gateway, _lines(made, range(BULK, BULK + 200)))
                asked = [json.dumps({"query": question, "limit": 10}).encode() for question in made.questions]
                alone = await asyncio.to_thread(_model_alone, made, range(200))
                idle = await at_rate(url + SEARCH, headers, asked[:150], 10)
                began = time.perf_counter()
                bulk = asyncio.create_task(_given(gateway, _lines(made, range(BULK))))
                await asyncio.sleep(2)
                busy = await at_rate(url + SEARCH, headers, asked[150:300], 10)
                if bulk.done():
                    raise RuntimeError("the bulk ended before the questions: make it longer with BENCH_BULK")
                await bulk
                rate = BULK / (time.perf_counter() - began)
                quiet = time.perf_counter()
                more = range(BULK // 4)
                await _given(gateway, _lines(made, more, "again"))
                undisturbed = len(more) / (time.perf_counter() - quiet)
                alone = statistics.mean((alone, await asyncio.to_thread(_model_alone, made, range(200))))
        log = (servers.folder / "plumbline_search.log").read_text().splitlines()
        blocks = [line for line in log if "event loop" in line]
        for line in blocks:
            harness.say(line[:2000])
    ratio = undisturbed / alone
    harness.row("search", "bulk_vs_model", undisturbed, "documents/s",
                against=f"the model alone on one core, {alone:.0f}/s", ratio=ratio, bar=0.8,
                ok=ratio >= 0.8)  # fmt: skip
    ratio = p99(busy) / p99(idle)
    harness.row("search", "p99_during_bulk_ratio", p99(busy), "ms",
                against=f"idle {p99(idle):.0f} ms; {rate:.0f} documents/s meanwhile", ratio=ratio, bar=2,
                ok=ratio <= 2)  # fmt: skip
    harness.row("search", "loop_blocks_during_bulk", len(blocks), "reports over 100 ms", bar=0, ok=not blocks)


def _lines(made: corpus.Corpus, places: range, prefix: str = "bulk") -> Iterator[dict[str, Any]]:
    for place in places:
        content = {"title": f"{prefix} {made.titles[place]}", "body": made.bodies[place]}
        yield {"kind": "runbook", "external_id": f"{prefix}/{place}", "content": content}


def _model_alone(made: corpus.Corpus, places: range) -> float:
    """Documents a second, each in its passages as the service reads them."""
    texts = [content.passages_of(f"alone {made.titles[place]}", made.bodies[place])[1] for place in places]
    encoder.load(model_store.default_cache())
    began = time.perf_counter()
    for each in texts:
        encoder.encode(each)
    return len(texts) / (time.perf_counter() - began)


# --- A million ------------------------------------------------------------------------------------------


async def _million() -> None:
    """The same questions of 100,000 documents and of a million. HNSW is not built: memory holds the passages."""
    p50 = {}
    for number in (100_000, MILLION):
        made = await corpus.made(number)
        bodies = [json.dumps({"query": question, "limit": 10}).encode() for question in made.questions]
        async with harness.servers() as servers:
            await harness.migrate(servers, "search")
            began = time.monotonic()
            await corpus.filled(servers, made, hnsw=False)
            del made
            await _streams(servers)
            async with harness.uvicorn(APP, servers.environment("search"), servers.folder, workers=WORKERS) as url:
                await corpus.merged(servers)
                await corpus.remembered(servers, number, WORKERS)
                harness.say(f"{number:,} documents are indexed in {time.monotonic() - began:.0f} s")
                headers = {"Authorization": f"Bearer {servers.issuer.token('viewer', expires_in=6 * 3600)}"}
                await at_rate(url + SEARCH, headers, bodies[:100], 10)
                took = await at_rate(url + SEARCH, headers, bodies[100:400], 10)
                p50[number] = statistics.median(took)
                harness.say(f"{number:,}: p50 {p50[number]:.1f} ms, p99 {p99(took):.1f} ms")
                megabytes = corpus.resident(servers.folder)
    ratio = p50[MILLION] / p50[100_000]
    harness.row("search", "million_p50_vs_100k", p50[MILLION], "ms", against=f"{p50[100_000]:.1f} ms",
                ratio=ratio, bar=2, ok=ratio <= 2)  # fmt: skip
    harness.row("search", "million_worker_rss_mb", megabytes, "MB")


if __name__ == "__main__":
    asyncio.run(main())
