"""How good a ranking is, on judgements in the layout of BEIR: corpus.jsonl, queries.jsonl, qrels.tsv."""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS = ("ndcg@10", "mrr@10", "recall@100")
WAYS: Mapping[str, dict[str, Any]] = {
    "lexical": {"legs": ["lexical"]},
    "vector": {"legs": ["vector"]},
    "fused by ranks": {"fusion": {"method": "ranks"}},
    "fused by scores": {},
}
"""What is measured; the last is the default."""

Search = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Collection:
    name: str
    corpus: Mapping[str, Mapping[str, str]]
    """Each with `text` and perhaps `title`, by id."""
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    """By query, how much each document is to the point: 0 is not."""

    @property
    def judged(self) -> list[str]:
        return [query for query in self.queries if any(self.judgements.get(query, {}).values())]


def read(folder: Path) -> Collection:
    """Raises `OSError` where a file is missing, and `ValueError` with the line where one cannot be read."""
    corpus = {each["_id"]: {"title": "", **each} for each in _objects(folder / "corpus.jsonl")}
    queries = {each["_id"]: each["text"] for each in _objects(folder / "queries.jsonl")}
    judgements: dict[str, dict[str, int]] = {}
    for number, line in enumerate((folder / "qrels.tsv").read_text().splitlines(), 1):
        query, _, rest = line.partition("\t")
        document, _, score = rest.partition("\t")
        if not score.strip().lstrip("-").isdigit():
            if number == 1:
                continue  # the header
            raise ValueError(f"qrels.tsv, line {number}: say query, document and score, with tabs between")
        judgements.setdefault(query, {})[document] = int(score)
    digest = hashlib.sha256("\n".join(corpus).encode()).hexdigest()[:12]
    return Collection(f"eval-{digest}", corpus, queries, judgements)


def of_feedback(judged: Iterable[Mapping[str, Any]]) -> Collection:
    """What people did with hits, as judgements of the documents themselves, by their ids."""
    judgements: dict[str, dict[str, int]] = {}
    for each in judged:
        judgements.setdefault(each["query"], {})[each["entity_id"]] = each["grade"]
    return Collection("feedback", {}, {query: query for query in judgements}, judgements)


def _objects(file: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            each = json.loads(line)
            yield {"_id": str(each["_id"]), "text": str(each["text"]), "title": str(each.get("title", ""))}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{file.name}, line {number}: say an object with _id and text") from None


def lines(collection: Collection) -> Iterator[dict[str, Any]]:
    """What puts the collection into the index, apart from the rest by the facet `collection`."""
    for id in _said(collection):
        each = collection.corpus[id]
        content = {
            "title": each["title"][:500],
            "body": each["text"],
            "facets": {"collection": collection.name},
            "updated_at": "2000-01-01T00:00:00Z",
        }
        yield {"op": "put", "kind": "runbook", "external_id": name_of(collection, id), "content": content}


def removals(collection: Collection) -> Iterator[dict[str, Any]]:
    for id in _said(collection):
        yield {"op": "delete", "kind": "runbook", "external_id": name_of(collection, id)}


def _said(collection: Collection) -> Iterator[str]:
    """The documents that say anything: a collection may have empty ones."""
    return (id for id, each in collection.corpus.items() if each["title"].strip() or each["text"].strip())


def name_of(collection: Collection, id: str) -> str:
    """The external id of a document."""
    return f"{collection.name}/{hashlib.sha256(id.encode()).hexdigest()[:24]}"


async def measure(
    search: Search, collection: Collection, advance: Callable[[], object]
) -> dict[str, dict[str, float]]:
    """The mean of each metric over the judged queries, for each of `WAYS`; without a corpus on all that is there."""
    ids = {name_of(collection, id): id for id in collection.corpus}
    only = {"filter": {"facet": "collection", "in": [collection.name]}} if collection.corpus else {}
    figures = {}
    for way, asked in WAYS.items():
        rows = []

        async def ask(query: str, asked: Mapping[str, Any] = asked) -> dict[str, float]:
            text = collection.queries[query][:4000]
            found = await search(text, 100, **only, **asked)
            ranking = [ids[hit["external_id"]] if ids else hit["entity_id"] for hit in found["items"]]
            advance()
            return scored(ranking, collection.judgements[query])

        for start in range(0, len(collection.judged), 4):
            rows += await asyncio.gather(*map(ask, collection.judged[start : start + 4]))
        figures[way] = {metric: sum(row[metric] for row in rows) / max(1, len(rows)) for metric in METRICS}
    return figures


def scored(ranking: Sequence[str], judgements: Mapping[str, int]) -> dict[str, float]:
    """nDCG@10 (Järvelin and Kekäläinen 2002, gain is the judgement), MRR@10 and recall@100 of one ranking."""
    gains = [max(0, judgements.get(id, 0)) for id in ranking]
    ideal = _discounted(sorted((max(0, score) for score in judgements.values()), reverse=True)[:10])
    right = sum(score > 0 for score in judgements.values())
    first = next((place for place, gain in enumerate(gains[:10], 1) if gain), None)
    return {
        "ndcg@10": _discounted(gains[:10]) / ideal if ideal else 0.0,
        "mrr@10": 1 / first if first else 0.0,
        "recall@100": sum(gain > 0 for gain in gains[:100]) / right if right else 0.0,
    }


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
