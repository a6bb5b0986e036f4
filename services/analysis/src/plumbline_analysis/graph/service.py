"""The service graph: learned from traces and metrics, read by people and by whoever groups anomalies."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.graph import repository, rules
from plumbline_analysis.graph.joining import Joiner
from plumbline_analysis.graph.rules import Edge
from plumbline_analysis.graph.schemas import ServiceEdge, ServiceGraph, ServiceNode
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import encoding
from plumbline_analysis.sources.spans import Spans
from plumbline_analysis.threads import sized
from plumbline_common import instruments

_spans = instruments.counter(
    "plumbline.analysis.spans",
    "{span}",
    "Spans received that cross the border of a service",
    {"plumbline.outcome": ("accepted", "rejected")},
)


class Learner:
    """What one process learns from the spans that reach it."""

    def __init__(self) -> None:
        self._joiner = Joiner()
        self._turn = asyncio.Lock()

    async def learn(self, spans: Spans) -> None:
        """Find the calls among the spans, on a thread where they are many."""
        async with self._turn:
            await sized(len(spans.accepted), self._joiner.join, spans.accepted, time.monotonic())
        _spans.add(len(spans.accepted), {"plumbline.outcome": "accepted"})
        _spans.add(spans.rejected, {"plumbline.outcome": "rejected"})

    async def drain(self) -> Counter[Edge]:
        async with self._turn:
            return self._joiner.drain()

    async def put_back(self, counts: Counter[Edge]) -> None:
        async with self._turn:
            self._joiner.put_back(counts)


def read(decode: Callable[[bytes], Spans], body: bytes, content_encoding: str, settings: Settings) -> Spans:
    """CPU-bound, for a thread where the body is large."""
    return decode(encoding.decompress(body, content_encoding, settings.decompressed_limit_bytes))


async def graph(session: AsyncSession, service: str | None) -> ServiceGraph:
    """All of it, or a service with who calls it and whom it calls."""
    edges = [ServiceEdge.model_validate(each) for each in await repository.rows(session, service)]
    callers, callees = Counter(each.callee for each in edges), Counter(each.caller for each in edges)
    names = sorted(callers.keys() | callees.keys())
    nodes = [ServiceNode(service=each, callers=callers[each], callees=callees[each]) for each in names]
    return ServiceGraph(nodes=nodes, edges=edges)


async def look(session: AsyncSession, since: datetime) -> Counter[Edge]:
    """The calls that metrics with a point since then tell of."""
    series = await repository.telling(session, since)
    addresses = {each for _, _, attributes in series for each in rules.addressed(attributes)}
    known = await repository.sending(session, addresses) if addresses else set()
    found = (rules.edge_of_metric(metric, service, attributes, known) for metric, service, attributes in series)
    return Counter({edge: 1 for edge in found if edge is not None})
