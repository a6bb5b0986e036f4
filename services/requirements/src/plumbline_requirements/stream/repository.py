"""The SQL of the stream: the service's own outbox log, read by position."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, outbox
from plumbline_requirements.stream.rules import PRODUCER, Entry, Kept

_KEPT = text(
    "SELECT coalesce((SELECT sequenced FROM outbox_producer WHERE name = :producer), 0) AS newest,"
    " (SELECT min(position) FROM outbox) AS oldest"
)
_PAGE = text(
    "SELECT position, id, subject, key, data, created_at FROM outbox"
    " WHERE position > :position ORDER BY position LIMIT :limit"
)


async def kept(session: AsyncSession) -> Kept:
    row = (await session.execute(_KEPT, {"producer": PRODUCER})).one()
    return Kept(oldest=row.newest + 1 if row.oldest is None else row.oldest, newest=row.newest)


async def page(session: AsyncSession, position: int, limit: int) -> list[Entry]:
    """What comes after `position`, in order."""
    rows = await session.execute(_PAGE, {"position": position, "limit": limit})
    return [Entry(*row) for row in rows]


@contextlib.asynccontextmanager
async def listening(sessions: db.Sessions, wake: asyncio.Event) -> AsyncIterator[Any]:
    """A connection that sets `wake` when events got their positions, and when it ends."""
    async with (
        sessions() as session,
        outbox.listening(await session.connection(), outbox.SEQUENCED, wake) as driver,
    ):
        yield driver
