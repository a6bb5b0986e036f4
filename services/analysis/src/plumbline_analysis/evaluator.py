"""Evaluates requirements, in transactions that begin and end here."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.trace import Span, use_span

from plumbline_analysis import moments
from plumbline_analysis.models import WatchedRequirement
from plumbline_analysis.moments import micros
from plumbline_analysis.objectives import gather, judge, lease, repository, service, surroundings
from plumbline_analysis.objectives.gather import Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.points import arrivals
from plumbline_analysis.points.arrivals import News
from plumbline_analysis.settings import Settings
from plumbline_common import db, instruments, offload, telemetry
from plumbline_common.errors import Invalid
from plumbline_common.events import Event

log = logging.getLogger(__name__)

AT_ONCE = 50
"""So many requirements are evaluated in one transaction."""
MOST_NOTES = 10_000
"""So many notes of late points are kept for a requirement that can't be evaluated."""

_duration = instruments.histogram(
    "plumbline.analysis.evaluation.duration", "s", "How long the evaluation of up to 50 requirements took"
)
_failures = instruments.counter(
    "plumbline.analysis.evaluation.failures", "{evaluation}", "Evaluations that failed and are tried again"
)


class Evaluated(NamedTuple):
    """Whether history is left to take in, and whether all that there was to evaluate has been."""

    behind: bool
    whole: bool


class Evaluator:
    """Evaluates every requirement in force. Any number of processes run one; the lease lets one of them work."""

    def __init__(
        self,
        sessions: db.Sessions,
        read_sessions: db.Sessions,
        settings: Settings,
        clock: Callable[[], datetime] = moments.now,
    ) -> None:
        self._sessions = sessions
        self._read_sessions = read_sessions
        self._settings = settings
        self._clock = clock
        self.holder = db.new_id()
        self._seen: dict[int, datetime] = {}
        """Under which token what came until when was last taken in."""
        self._lease = max(5.0, 3.0 * settings.evaluation_interval_seconds)

    async def run(self) -> None:
        """For ever; a round that falls behind is followed by the next at once."""
        interval = self._settings.evaluation_interval_seconds
        while True:
            behind = await self.round()
            if not behind:
                # On the clock: all processes agree on when a round is due, and slices end on the same grid.
                settled = time.time() - self._settings.settle_seconds
                await asyncio.sleep(interval - settled % interval + 0.002)

    async def round(self) -> bool:
        """Evaluate what is due. Whether history is left to take in; False also while another process evaluates."""
        if (token := await self.claim()) is None:
            return False
        claimed = time.monotonic()
        async with self._read_sessions() as session:
            # Before any point is read: what comes meanwhile is looked at by the next round.
            unsettled = await arrivals.unsettled(session)
            news = News(self._seen.get(token), await arrivals.notes(session))
            requirements = await repository.in_force(session)
            abandoned = await repository.abandoned(session)
        for id in abandoned:
            await self.retire(id, token)
        behind, whole = False, True
        for place in range(0, len(requirements), AT_ONCE):
            if time.monotonic() - claimed > self._lease / 3:
                if await self.claim() != token:
                    return False
                claimed = time.monotonic()
            found = await self._attempt(requirements[place : place + AT_ONCE], token, news)
            behind, whole = behind or found.behind, whole and found.whole
        if whole:
            self._seen = {token: unsettled}
        if whole or len(news.notes) > MOST_NOTES:
            await self._forget(news.notes)
        return behind

    async def _forget(self, notes: Sequence[int]) -> None:
        if notes:
            async with self._sessions.begin() as session:
                await arrivals.forget(session, notes)

    async def _attempt(
        self, requirements: Sequence[WatchedRequirement], token: int, news: News, most: int | None = None
    ) -> Evaluated:
        """Together they cost few statements; but one that can't be evaluated must not keep the others from it."""
        try:
            return await self.evaluate(requirements, token, news, most)
        except Exception as error:
            if len(requirements) > 1:
                log.warning("an evaluation failed; its requirements are evaluated one by one", exc_info=True)
                alone = [await self._attempt([each], token, news, most) for each in requirements]
                return Evaluated(any(each.behind for each in alone), all(each.whole for each in alone))
            if isinstance(error, Invalid) and (shorter := (most or gather.MAX_SLICES) // 4):
                log.warning("%s is evaluated in shorter parts: %s", requirements[0].key, error)
                return await self._attempt(requirements, token, news, shorter)
            log.exception("the evaluation of %s failed; the next round tries again", requirements[0].key)
            _failures.add(1)
            return Evaluated(behind=False, whole=False)

    async def evaluate(
        self,
        requirements: Sequence[WatchedRequirement],
        token: int,
        news: News = arrivals.UNKNOWN,
        most: int | None = None,
    ) -> Evaluated:
        """Evaluate some requirements in one transaction, at most so many slices of each."""
        began = time.time_ns()
        async with self._read_sessions() as session:
            works = await gather.gather(session, requirements, self._clock(), self._settings, news, most)
        if not works:
            return Evaluated(behind=False, whole=True)
        judged = await offload.in_thread(_judge, works)
        around = await surroundings.gather(self._read_sessions, works, judged, self._settings)
        async with self._sessions.begin() as session:
            if not await lease.still_holds(session, self.holder, token):
                return Evaluated(behind=False, whole=False)
            unchanged = await repository.unchanged(session, [work.requirement for work in works])
            kept = [place for place, work in enumerate(works) if work.requirement.id in unchanged]
            works = [works[place] for place in kept]
            told = await service.record(session, works, [judged[place] for place in kept], around, self._settings)
            for work in works:
                if events := told.get(work.requirement.id):
                    with _trace(work.requirement, events, began):
                        await service.stage(session, events)
        _duration.record((time.time_ns() - began) / 1e9)
        return Evaluated(any(work.behind for work in works), len(works) == len(judged))

    async def retire(self, requirement_id: UUID, token: int) -> None:
        """Let go of a requirement that is no longer in force."""
        async with self._sessions.begin() as session:
            if await lease.still_holds(session, self.holder, token):
                events = await service.retire(session, requirement_id, micros(self._clock()))
                await service.stage(session, events)

    async def prune(self) -> None:
        """Drop running totals that no window reaches any more."""
        async with self._read_sessions() as session:
            requirements = await repository.in_force(session)
        for requirement in requirements:
            async with self._sessions.begin() as session:
                await service.prune(session, requirement, self._clock())

    async def release(self) -> None:
        """Let another process go on at once."""
        async with self._sessions.begin() as session:
            await lease.release(session, self.holder)

    async def claim(self) -> int | None:
        """The token of the lease, taken or kept; None while another process holds it."""
        async with self._sessions.begin() as session:
            return await lease.claim(session, self.holder, self._lease)


def _judge(works: Sequence[Work]) -> list[list[Judged]]:
    slos = [slo for work in works for slo in work.slos]
    judged = iter(judge.judge([slo.request for slo in slos], [slo.watch for slo in slos]))
    return [list(itertools.islice(judged, len(work.slos))) for work in works]


@contextlib.contextmanager
def _trace(requirement: WatchedRequirement, events: list[Event], began: int) -> Iterator[Span]:
    """A trace of its own for an evaluation that found something. Those that found nothing leave none."""
    span = telemetry.tracer.start_span(
        "evaluate requirement",
        context=Context(),
        start_time=began,
        attributes={
            "plumbline.requirement.id": str(requirement.id),
            "plumbline.requirement.revision": requirement.revision,
            "plumbline.events": [event.subject for event in events],
        },
    )
    with use_span(span, end_on_exit=True):
        yield span
