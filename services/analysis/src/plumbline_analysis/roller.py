"""The background edge of rollups: an hour of some signals at a time, read, summed up, written in one transaction."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from plumbline_analysis.rollups import service
from plumbline_analysis.settings import Settings
from plumbline_common import db, offload


class Roller:
    """Rolls points up. Any number of processes run one; the evaluator's lease lets one of them work."""

    def __init__(
        self,
        sessions: db.Sessions,
        read_sessions: db.Sessions,
        settings: Settings,
        claim: Callable[[], Awaitable[int | None]],
    ) -> None:
        self._sessions = sessions
        self._read_sessions = read_sessions
        self._settings = settings
        self._claim = claim

    async def once(self) -> None:
        """Roll up all that is due."""
        async with self._sessions.begin() as session:
            await service.begin(session, self._settings, datetime.now(UTC))
        while await self._claim() is not None and await self._some():
            pass

    async def _some(self) -> bool:
        """Roll up what is next; whether there was something. A crash leaves all of it to be done again."""
        async with self._read_sessions() as session:
            work = await service.next_work(session, self._settings, datetime.now(UTC))
        if work is None:
            return False
        found = await offload.in_thread(service.roll, work)
        async with self._sessions.begin() as session:
            await service.save(session, work, found)
        return True
