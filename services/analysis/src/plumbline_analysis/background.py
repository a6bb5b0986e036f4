"""What runs beside the requests: evaluation, grouping, rollups, partitions and pruning."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.graph.service import Learner
from plumbline_analysis.incident_keeper import FLUSH_SECONDS, LOOK_SECONDS, GraphKeeper, IncidentKeeper
from plumbline_analysis.lines import repository as lines
from plumbline_analysis.log_evaluator import LogEvaluator
from plumbline_analysis.models import HOUR_TABLES, LOG_TABLES, MINUTE_TABLES, POINT_TABLES
from plumbline_analysis.notifications import repository as notifications
from plumbline_analysis.objectives import judge
from plumbline_analysis.points import partitions
from plumbline_analysis.roller import Roller
from plumbline_analysis.rollups import rules as retention
from plumbline_analysis.rollups import service as rollups
from plumbline_analysis.settings import Settings
from plumbline_analysis.templates import repository as templates
from plumbline_common import db, offload
from plumbline_common.idempotency import KEEP_HOURS

log = logging.getLogger(__name__)

MAINTENANCE_SECONDS = 600.0
_RETRY_SECONDS = 1.0
_AHEAD = timedelta(days=2)
_TOLD_DAYS = timedelta(days=7)
"""How long what came of notifications can be read."""
_MINUTE_PARTITION_DAYS = 7
_HOUR_PARTITION_DAYS = 56
"""Few partitions: every plan looks at all of them."""
ROLLUP_SECONDS = 60.0


class Maintenance:
    """Keeps the partitions: made ahead, dropped after their retention."""

    def __init__(self, sessions: db.Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings
        self.done = False

    async def once(self) -> None:
        now = datetime.now(UTC)
        kept = retention.kept(self._settings, now)
        of_logs = timedelta(days=self._settings.log_retention_days)
        past = now - retention.past(self._settings)
        logs_from = now - min(of_logs, timedelta(hours=self._settings.past_limit_hours))
        rolled_from, ahead = kept.points.date(), (now + _AHEAD).date()
        async with self._sessions.begin() as session:
            await partitions.maintain(session, POINT_TABLES, past.date(), ahead, kept.points.date())
            await partitions.maintain(
                session, MINUTE_TABLES, rolled_from, ahead, kept.minutes.date(), _MINUTE_PARTITION_DAYS
            )
            await partitions.maintain(
                session, HOUR_TABLES, rolled_from, ahead, kept.hours.date(), _HOUR_PARTITION_DAYS
            )
            await partitions.maintain(session, LOG_TABLES, logs_from.date(), ahead, (now - of_logs).date())
            await rollups.forget_late(session, self._settings, now)
            await lines.forget_exports(session, now - timedelta(hours=KEEP_HOURS))
            await templates.forget_merged(session, kept.points)
            await notifications.forget(session, now - _TOLD_DAYS)
        self.done = True

    async def check(self) -> None:
        """Raises until the partitions are there: without them no point can be stored."""
        if not self.done:
            raise RuntimeError("the partitions of the tables of points and logs are not made yet")


@contextlib.asynccontextmanager
async def running(
    sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings, learner: Learner
) -> AsyncIterator[Maintenance]:
    """Evaluate, group and maintain beside the requests until the context ends."""
    # Before any request is served: the compiler wants the interpreter's lock for seconds.
    await offload.in_thread(judge.prepare)
    evaluator, maintenance = Evaluator(sessions, read_sessions, settings), Maintenance(sessions, settings)
    of_logs = LogEvaluator(sessions, read_sessions, settings, evaluator.holder, evaluator.claim)
    roller = Roller(sessions, read_sessions, settings, evaluator.claim)
    incidents = IncidentKeeper(sessions, settings, evaluator.holder, evaluator.claim)
    graph = GraphKeeper(sessions, settings, learner, evaluator.claim)
    jobs = [
        asyncio.create_task(_again(maintenance.once, MAINTENANCE_SECONDS), name="partitions"),
        asyncio.create_task(_again(roller.once, ROLLUP_SECONDS), name="rollups"),
        asyncio.create_task(_again(evaluator.prune, MAINTENANCE_SECONDS), name="pruning"),
        asyncio.create_task(_again(evaluator.run, _RETRY_SECONDS), name="evaluation"),
        asyncio.create_task(_again(of_logs.run, _RETRY_SECONDS), name="evaluation of logs"),
        asyncio.create_task(_again(incidents.run, _RETRY_SECONDS), name="incidents"),
        asyncio.create_task(_again(graph.flush, FLUSH_SECONDS), name="service graph of spans"),
        asyncio.create_task(_again(graph.look, LOOK_SECONDS), name="service graph of metrics"),
    ]
    try:
        yield maintenance
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        with contextlib.suppress(Exception):
            await evaluator.release()


async def _again(job: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do it, and again after `seconds`; soon where it failed."""
    while True:
        try:
            await job()
            wait = seconds
        except Exception as error:
            log.warning("%s failed and is tried again: %r", job.__qualname__, error)
            wait = _RETRY_SECONDS
        await asyncio.sleep(wait)
