"""Calls found among the spans that arrive: who called is the client's span, who was called its child. Pure.

The two come in different requests, in either order. What waits for its counterpart is kept for a short time and in
bounded number. Each process joins what reaches it, so of several processes each sees a part of all calls.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from plumbline_analysis.graph.rules import Edge, edge
from plumbline_analysis.sources.spans import Span

T = TypeVar("T")

MOST_WAITING = 50_000
"""So many spans of each side wait, about 10 MB."""
WAITS_SECONDS = 60.0
MOST_EDGES = 10_000
_Key = tuple[bytes, bytes]


class Joiner:
    """Finds calls, and counts them until they are drained. Not to be used by two threads at once."""

    def __init__(self) -> None:
        self._callers: OrderedDict[_Key, tuple[float, str]] = OrderedDict()
        self._callees: OrderedDict[_Key, tuple[float, list[str]]] = OrderedDict()
        self._found: Counter[Edge] = Counter()

    def join(self, spans: Sequence[Span], now: float) -> None:
        """Take in spans that came at `now`, in seconds of a clock that never steps back. O(spans)."""
        for span in spans:
            if span.is_caller:
                self._call(span, now)
            else:
                self._answer(span, now)
        _forget(self._callers, now)
        _forget(self._callees, now)

    def drain(self) -> Counter[Edge]:
        """How often each call was seen since it was asked last."""
        found, self._found = self._found, Counter()
        return found

    def put_back(self, counts: Counter[Edge]) -> None:
        """What was drained and could not be kept."""
        for found, count in counts.items():
            self._add(found, count)

    def _call(self, span: Span, now: float) -> None:
        if span.peer:
            self._add(edge(span.service, span.peer))
            return
        key = span.trace_id, span.span_id
        for callee in self._callees.pop(key, (0.0, []))[1]:
            self._add(edge(span.service, callee))
        # It may have several children: a message that many receive, a call that was tried again.
        self._callers[key] = now, span.service

    def _answer(self, span: Span, now: float) -> None:
        key = span.trace_id, span.parent_id
        if (caller := self._callers.get(key)) is not None:
            self._add(edge(caller[1], span.service))
        elif span.parent_id:
            self._callees.setdefault(key, (now, []))[1].append(span.service)

    def _add(self, found: Edge | None, count: int = 1) -> None:
        if found is not None and (found in self._found or len(self._found) < MOST_EDGES):
            self._found[found] += count


def _forget(waiting: OrderedDict[_Key, tuple[float, T]], now: float) -> None:
    while waiting and (len(waiting) > MOST_WAITING or next(iter(waiting.values()))[0] < now - WAITS_SECONDS):
        waiting.popitem(last=False)
