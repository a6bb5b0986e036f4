"""Asks sources: as many at a time as the process may, patiently where that may help."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from plumbline_analysis.pulls import rules
from plumbline_analysis.pulls.cloudwatch import CloudWatch
from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_analysis.pulls.prometheus import Prometheus
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import PrometheusSpec, PullTest, SourceError, SourceResponse, Spec
from plumbline_analysis.settings import SECRETS, Settings
from plumbline_analysis.sources.answers import Answer
from plumbline_common import instruments
from plumbline_common.errors import NotFound
from plumbline_common.outgoing import Targets
from plumbline_common.secret_store import SecretStore

ALLOWED = "PLUMBLINE_ANALYSIS_PULL_ALLOWED"
ATTEMPTS = 3
_LONGEST_PAUSE = 30.0
"""A source that asks for a longer one is left until its next turn."""
_AWAY_AT_ONCE = 2
_TRIED_STEPS = 20

_pulls = instruments.counter(
    "plumbline.analysis.pulls",
    "{request}",
    "Requests to sources",
    {"plumbline.source": "the names of sources", "plumbline.outcome": ("success", *Reason)},
)


class Client(Protocol):
    """Asks one source."""

    at_once: int
    """How many queries one question takes."""

    def step(self, query: Any) -> int:
        """Seconds from one point of the query to the next."""

    def steps(self, queries: int) -> int:
        """How many a question of so many queries can reach over."""

    async def take(self, queries: Sequence[Any], pulled: Range) -> Answer:
        """Raises `PullFailed`."""

    async def aclose(self) -> None: ...


class Asker:
    def __init__(self, settings: Settings) -> None:
        self.targets = Targets(settings.pull_allowed, ALLOWED)
        self._secrets = SecretStore(settings.secrets_folder, SECRETS)
        self._limit = settings.pull_limit_bytes
        self._asking = asyncio.Semaphore(settings.pulls_at_once)
        # However many sources are away, those that answer find a place.
        self._away = asyncio.Semaphore(_AWAY_AT_ONCE)

    def client(self, spec: Spec, source: str) -> Client:
        """Of the source of this name; who takes it closes it."""
        if isinstance(spec, PrometheusSpec):
            return Prometheus(spec, source, self.targets, self._secrets, self._limit)
        return CloudWatch(spec, source, self.targets)

    async def ask(
        self, client: Client, source: str, queries: Sequence[Any], pulled: Range, *, is_away: bool
    ) -> Answer:
        """Some attempts; of a source that was away lately one, for whether it is back shows at once.

        Raises `PullFailed`.
        """
        attempts = 1 if is_away else ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                async with self._away if is_away else self._asking:
                    answer = await client.take(queries, pulled)
            except PullFailed as failure:
                _pulls.add(1, {"plumbline.source": source, "plumbline.outcome": str(failure.reason)})
                pause = failure.retry_after
                if pause is None:
                    pause = rules.backoff(attempt, random.random())  # noqa: S311 - no secret
                if not failure.is_passing or attempt == attempts or pause > _LONGEST_PAUSE:
                    raise
            else:
                _pulls.add(1, {"plumbline.source": source, "plumbline.outcome": "success"})
                return answer
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def tried(self, source: SourceResponse, name: str | None) -> PullTest:
        """What one query gives over its last steps. Raises `NotFound` where the source has none of the name."""
        query = next((each for each in source.spec.pulled() if name in (None, each.name)), None)
        if query is None:
            raise NotFound(f"the source has no query {name}")
        answer, problem, began = None, None, time.perf_counter()
        async with contextlib.aclosing(self.client(source.spec, source.name)) as client:
            step = client.step(query)
            newest = rules.head(time.time(), source.spec.delay_seconds, step)
            try:
                async with self._asking:
                    answer = await client.take([query], Range(newest - _TRIED_STEPS * step, newest))
            except PullFailed as failure:
                problem = SourceError(
                    reason=failure.reason, detail=failure.detail, query=query.name, at=datetime.now(UTC)
                )
        return PullTest(
            query=query.name,
            series=answer.series if answer else 0,
            points=answer.batch.accepted if answer else 0,
            seconds=round(time.perf_counter() - began, 3),
            warnings=answer.said if answer else [],
            problem=problem,
        )
