"""One turn of a source: what is new of every query, and then of the past, the oldest first."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from plumbline_analysis.models import PullSource
from plumbline_analysis.pulls import rules, service
from plumbline_analysis.pulls.asking import Asker, Client
from plumbline_analysis.pulls.failures import PullFailed, Reason, Setback
from plumbline_analysis.pulls.rules import Mark, Range
from plumbline_analysis.sources.answers import Answer

Limits = dict[str, int]
"""How many steps a question of a query may reach over, where that is less than the source takes."""
Keep = Callable[[Answer, Range, Mapping[str, Mark]], Awaitable[None]]
"""Stores the points of a range together with the marks after them."""

_NEWS_STEPS = 240
"""After a long outage the newest comes first, quickly; what was missed follows as the past."""


class Turn:
    """`oldest` is the beginning of what is kept. A query that fails does not keep the others from theirs; two that
    fail say that the source is away."""

    def __init__(
        self,
        asker: Asker,
        client: Client,
        source: PullSource,
        stored: Mapping[str, Mark],
        limits: Limits,
        clock: Callable[[], float],
        oldest: int,
        keep: Keep,
    ) -> None:
        self._asker = asker
        self._client = client
        self._source = source
        self._limits = limits
        self._keep = keep
        self._spec = service.spec_of(source)
        self._queries: list[Any] = list(self._spec.pulled())
        self._failed: dict[str, PullFailed] = {}
        self._warnings: dict[str, None] = {}
        self._heads = {
            query.name: rules.head(clock(), self._spec.delay_seconds, client.step(query)) for query in self._queries
        }
        self.marks = {query.name: self._mark(query, stored.get(query.name), oldest) for query in self._queries}

    @property
    def warnings(self) -> list[str]:
        return list(self._warnings)

    async def take(self, until: float) -> Setback | None:
        """What is new, and of the past as much as comes until then (monotonic). None where all went well."""
        try:
            await self._take_news()
            while time.monotonic() < until and (past := self._past()) is not None:
                await self._pull(*past)
        except PullFailed as failure:
            return Setback(failure, next(reversed(self._failed)), is_away=True)
        return next((Setback(each, name, is_away=False) for name, each in self._failed.items()), None)

    def _mark(self, query: Any, stored: Mark | None, oldest: int) -> Mark:
        step, newest = self._client.step(query), self._heads[query.name]
        mark = stored or rules.begin(newest, step, self._source.backfill_seconds)
        return rules.within(mark, -(-oldest // step) * step, newest)

    def _span(self, query: Any) -> int:
        """Seconds."""
        steps = self._client.steps(min(len(self._queries), self._client.at_once))
        return min(steps, self._limits.get(query.name, steps)) * self._client.step(query)

    async def _take_news(self) -> None:
        # A range that proves too large is halved, and asked for anew as the next news.
        while news := self._news():
            for (_, pulled), queries in news.items():
                for place in range(0, len(queries), self._client.at_once):
                    await self._pull(queries[place : place + self._client.at_once], pulled)

    def _news(self) -> dict[tuple[int, Range], list[Any]]:
        """The queries by what is new of them; of one step and range they can be asked together."""
        found: dict[tuple[int, Range], list[Any]] = {}
        for query in self._left:
            step = self._client.step(query)
            span = min(self._span(query), _NEWS_STEPS * step)
            if (pulled := rules.fresh(self.marks[query.name], self._heads[query.name], span)) is not None:
                found.setdefault((step, pulled), []).append(query)
        return found

    @property
    def _left(self) -> list[Any]:
        return [query for query in self._queries if query.name not in self._failed]

    def _past(self) -> tuple[list[Any], Range] | None:
        """The oldest gap, at most as long as one question can reach, and the queries that have it."""
        queries = self._left
        gap = rules.oldest_gap([self.marks[query.name] for query in queries], [self._span(each) for each in queries])
        if gap is None:
            return None
        place, past = gap
        step = self._client.step(queries[place])
        alike = [
            query
            for query in queries
            if self._client.step(query) == step and rules.has_gap(self.marks[query.name], past)
        ]
        return alike[: self._client.at_once], past

    async def _pull(self, queries: Sequence[Any], pulled: Range) -> None:
        """Raises `PullFailed` where the source is away."""
        is_away = self._source.failures >= rules.PATIENCE
        try:
            answer = await self._asker.ask(self._client, self._source.name, queries, pulled, is_away=is_away)
        except PullFailed as failure:
            await self._cope(queries, pulled, failure)
            return
        self._warnings |= dict.fromkeys(answer.said)
        after = {query.name: rules.taken(self.marks[query.name], pulled) for query in queries}
        await self._keep(answer, pulled, after)
        self.marks |= after
        for query in queries:
            if query.name in self._limits:
                self._limits[query.name] += 1 + self._limits[query.name] // 10

    async def _cope(self, queries: Sequence[Any], pulled: Range, failure: PullFailed) -> None:
        steps = (pulled.until - pulled.after) // self._client.step(queries[0])
        if failure.reason is Reason.QUERY and len(queries) > 1:
            # One of them is at fault, and the others are not.
            middle = len(queries) // 2
            await self._pull(queries[:middle], pulled)
            await self._pull(queries[middle:], pulled)
        elif (failure.reason is Reason.TOO_LARGE and steps > 1) or (
            failure.reason is Reason.TIMEOUT and steps > _NEWS_STEPS
        ):
            self._limits |= {query.name: steps // 2 for query in queries}
        else:
            others = len(self._failed)
            self._failed |= {query.name: failure for query in queries}
            if failure.reason is not Reason.QUERY and (others or not self._left or not failure.may_be_of_query):
                raise failure
