"""Turns of a source that answers many queries at once, as CloudWatch does; without a database."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from plumbline_analysis.models import PullSource
from plumbline_analysis.pulls.asking import Asker
from plumbline_analysis.pulls.failures import PullFailed, Reason, Setback
from plumbline_analysis.pulls.rules import Mark, Range
from plumbline_analysis.pulls.turn import Turn
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Batch

NOW = 1_767_268_800


class Client:
    """Refuses each question with one of the queries in `refuses`, and those longer than `longest` seconds."""

    at_once = 3

    def __init__(self, longest: int = 10**9, **refuses: Reason) -> None:
        self.longest = longest
        self.refuses = refuses
        self.asked: list[tuple[str, Range]] = []

    def step(self, query: Any) -> int:
        return int(query.period_seconds)

    def steps(self, queries: int) -> int:
        return 100

    async def take(self, queries: Sequence[Any], pulled: Range) -> Answer:
        names = "".join(query.name for query in queries)
        self.asked.append((names, pulled))
        if pulled.until - pulled.after > self.longest:
            raise PullFailed(Reason.TOO_LARGE, "too large")
        for name, reason in self.refuses.items():
            if name in names:
                raise PullFailed(reason, "no", retry_after=0)
        return Answer(Batch(), 0, [])

    async def aclose(self) -> None: ...


def source(backfill: int = 600, **periods: int) -> PullSource:
    queries = [
        {"name": name, "namespace": "N", "metric_name": "M", "period_seconds": period}
        for name, period in periods.items()
    ]
    now = datetime.now(UTC)
    spec = {"region": "eu-west-1", "queries": queries, "delay_seconds": 0}
    return PullSource(
        name="aws", kind="cloudwatch", spec=spec, interval_seconds=60, backfill_seconds=backfill, failures=0,
        created_at=now,
    )  # fmt: skip


async def turned(
    settings: Settings, client: Client, source: PullSource, stored: Mapping[str, Mark] | None = None
) -> tuple[dict[str, Mark], Setback | None]:
    kept: dict[str, Mark] = {}

    async def keep(answer: Answer, pulled: Range, marks: Mapping[str, Mark]) -> None:
        kept.update(marks)

    turn = Turn(Asker(settings), client, source, stored or {}, {}, lambda: NOW, 0, keep)
    return kept, await turn.take(time.monotonic() + 5)


async def test_queries_of_one_period_are_asked_together_as_many_as_go(settings: Settings) -> None:
    client = Client()
    kept, setback = await turned(settings, client, source(a=60, b=60, c=300, d=60, e=60))
    assert setback is None
    assert [names for names, _ in client.asked] == ["abd", "e", "c"]
    assert {mark.reached for mark in kept.values()} == {NOW}


async def test_a_query_that_is_refused_is_found_among_those_that_were_asked_with_it(settings: Settings) -> None:
    client = Client(b=Reason.QUERY)
    kept, setback = await turned(settings, client, source(a=60, b=60, c=60))
    assert (set(kept), setback and setback.query, setback and setback.is_away) == ({"a", "c"}, "b", False)


async def test_two_that_fail_say_that_the_source_is_away(settings: Settings) -> None:
    slow = source(a=60, b=120, c=300)
    _, setback = await turned(settings, Client(a=Reason.TIMEOUT), slow)
    assert (setback and setback.query, setback and setback.is_away) == ("a", False)
    client = Client(a=Reason.TIMEOUT, b=Reason.TIMEOUT)
    kept, setback = await turned(settings, client, slow)
    assert (setback and setback.query, setback and setback.is_away) == ("b", True)
    assert kept == {}
    assert {names for names, _ in client.asked} == {"a", "b"}


async def test_gaps_of_several_queries_are_pulled_together_the_oldest_first(settings: Settings) -> None:
    missing = Mark(NOW - 9000, NOW, (Range(NOW - 9000, NOW - 600),))
    late = Mark(NOW - 9000, NOW, (Range(NOW - 1200, NOW - 600),))
    client = Client()
    kept, _ = await turned(settings, client, source(a=60, b=60), {"a": missing, "b": late})
    assert client.asked == [
        ("a", Range(NOW - 9000, NOW - 3000)),
        ("a", Range(NOW - 3000, NOW - 600)),
        ("b", Range(NOW - 1200, NOW - 600)),
    ]
    assert all(mark.gaps == () for mark in kept.values())


async def test_a_range_that_is_too_large_is_asked_for_in_parts_and_one_point_is_not(settings: Settings) -> None:
    client = Client(longest=300)
    kept, setback = await turned(settings, client, source(backfill=1200, a=60))
    assert setback is None
    assert kept["a"] == Mark(NOW - 1200, NOW, ())
    _, setback = await turned(settings, Client(longest=30), source(a=60))
    assert (setback and setback.failure.reason) is Reason.TOO_LARGE
