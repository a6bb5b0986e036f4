"""The background edge of notifications: events to messages, and messages to receivers, in transactions that begin and
end here.

The log of events stands in PostgreSQL, and is read whether or not NATS is there. What was read of it, the alerts made
of that, and the messages are committed together, so whatever ends a process loses and doubles no message. One is
delivered at least once: who is ended between the answer and its noting leaves a lease that runs out, and the next try
bears the same `webhook-id`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from plumbline_analysis import moments
from plumbline_analysis.models import NotificationTarget
from plumbline_analysis.notifications import repository, rules, taking
from plumbline_analysis.notifications.repository import Claimed
from plumbline_analysis.notifications.schemas import DeliveryState, TargetContent
from plumbline_analysis.notifications.sending import Outcome, Sender
from plumbline_analysis.settings import Settings
from plumbline_analysis.threads import sized
from plumbline_common import db, instruments, outbox

log = logging.getLogger(__name__)

_PRODUCER = "analysis"
_BYTES = 50
"""So many of an event's are read in the time of a point."""
ROUND_SECONDS = 1.0
LEASE = timedelta(minutes=1)
"""Longer than a try takes, with what the clocks of two processes may differ."""
AT_ONCE_EACH = 4
"""Messages that one target is sent at the same time, of as many groups."""
_BATCH = 100
"""So many events are read in one transaction."""

_deliveries = instruments.counter(
    "plumbline.analysis.notification.deliveries",
    "{try}",
    "Tries to deliver notifications",
    {"plumbline.notification.target": "the names of targets", "plumbline.outcome": ("delivered", "failed", "dead")},
)
_age = instruments.gauge(
    "plumbline.analysis.notification.queue.age", "s", "The age of the oldest notification that waits for delivery"
)


class Notifier:
    """Any number of processes run one: one at a time reads the log, and a message is tried by one."""

    def __init__(
        self,
        sessions: db.Sessions,
        settings: Settings,
        sender: Sender,
        clock: Callable[[], datetime] = moments.now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._sender = sender
        self._clock = clock
        self._chance = chance
        self._tries: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """For ever; tries that are under way end with it."""
        try:
            while True:
                try:
                    await self.round()
                except Exception as error:
                    log.warning("notifications are held up and tried again: %r", error)
                await asyncio.sleep(ROUND_SECONDS)
        finally:
            for each in self._tries:
                each.cancel()
            await self.settled()

    async def round(self) -> None:
        """Make messages of what is new or due, and begin to deliver those that are to be tried."""
        async with self._sessions.begin() as session:
            await outbox.sequence_late(session, _PRODUCER)
        while await self._take():
            pass
        await self._deliver()

    async def settled(self) -> None:
        """Wait for the tries that are under way."""
        while self._tries:
            await asyncio.wait(self._tries)

    async def _take(self) -> bool:
        """Whether more is left to do; False also while another process does it."""
        now = self._clock()
        async with self._sessions.begin() as session:
            await repository.begin(session)
            after = await repository.turn(session)
            if after is None:
                return False
            logged = await repository.logged(session, after, taking.TOLD, _BATCH)
            if logged:
                size = sum(len(each.data or "") for each in logged)
                await taking.take(session, await sized(size // _BYTES, taking.read, logged), now)
                await repository.reach(session, logged[-1].position)
            await taking.withdraw(session, now)
            looked = await taking.tell(session, now, self._settings.external_url)
        return len(logged) == _BATCH or looked > 0

    async def _deliver(self) -> None:
        free = self._settings.notifications_at_once - len(self._tries)
        if free <= 0:
            return
        now = self._clock()
        async with self._sessions.begin() as session:
            oldest = await repository.oldest_pending(session)
            claimed = await repository.claim(session, now, LEASE, AT_ONCE_EACH, free)
            targets = {each.id: each for each in await repository.targets(session)} if claimed else {}
        _age.set(0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()))
        for each in claimed:
            if (target := targets.get(each.target_id)) is not None:
                attempt = asyncio.create_task(self._try(each, taking.content_of(target)), name=f"deliver {each.id}")
                self._tries.add(attempt)
                attempt.add_done_callback(self._tries.discard)

    async def _try(self, claimed: Claimed, target: TargetContent) -> None:
        try:
            outcome = await self._sender.send(target, claimed.id, claimed.body, self._clock())
        except Exception:
            log.exception("the notification %s to %s could not be sent", claimed.id, target.name)
            outcome = Outcome(None, "it could not be sent: see the log of the service")
        try:
            state = await self._note(claimed, outcome)
        except Exception as error:
            # Its lease runs out, and it is sent again under the same id.
            log.warning("what came of the notification %s could not be noted: %r", claimed.id, error)
            return
        if outcome.error is not None:
            log.warning("the notification %s to %s failed (%s): %s", claimed.id, target.name, state, outcome.error)
        told = "failed" if state is DeliveryState.PENDING else state.value
        _deliveries.add(1, {"plumbline.notification.target": target.name, "plumbline.outcome": told})

    async def _note(self, claimed: Claimed, outcome: Outcome) -> DeliveryState:
        now = self._clock()
        values: dict[str, Any] = {"last_status": outcome.status, "last_error": outcome.error}
        pause = timedelta(seconds=rules.pause(claimed.attempts, self._chance(), outcome.retry_after))
        if outcome.error is None:
            state = DeliveryState.DELIVERED
        elif outcome.is_gone or now + pause > claimed.expires_at:
            state = DeliveryState.DEAD
        else:
            state = DeliveryState.PENDING
        ended = None if state is DeliveryState.PENDING else now
        values |= {"state": state, "ended_at": ended, "next_try": now + pause if ended is None else None}
        async with self._sessions.begin() as session:
            if await repository.end_try(session, claimed, **values) and outcome.is_gone:
                target = await session.get(NotificationTarget, claimed.target_id, with_for_update=True)
                if target is not None:
                    target.enabled, target.disabled_reason = False, "its receiver answered 410 Gone"
                    target.revision += 1
                    target.updated_at = now
        return state
