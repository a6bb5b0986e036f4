"""Event in, one service call."""

from plumbline_common import bus, db, inbox
from plumbline_common.events import Received, VerdictChanged
from plumbline_requirements.requirements import service

CONSUMER = "requirements"


def subscription(sessions: db.Sessions) -> bus.Subscription:
    """What the requirements service learns from the others."""

    async def verdict_changed(received: Received[VerdictChanged]) -> None:
        async with sessions.begin() as session:
            if await inbox.first_time(session, received, CONSUMER):
                await service.judge(session, received.data)

    return bus.Subscription(CONSUMER, {VerdictChanged: verdict_changed})
