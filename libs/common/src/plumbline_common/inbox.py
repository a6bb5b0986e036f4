"""Exactly-once effect: what a consumer has done is recorded in the transaction that does it.

Positions are gapless per producer, so the same record tells which events never arrived.
"""

import logging
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.events import E, Received

log = logging.getLogger(__name__)


def add_tables(metadata: MetaData) -> None:
    """Declare `inbox` (what was done) and `inbox_progress` (up to which position without a gap)."""
    Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("producer", Text, primary_key=True),
        Column("position", BigInteger, primary_key=True),
        Column("event_id", Uuid, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("processed_at", db.timestamp(), nullable=False, server_default=sa.func.clock_timestamp()),
    )
    Table(
        "inbox_progress",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("producer", Text, primary_key=True),
        Column("position", BigInteger, nullable=False, server_default="0"),
    )


_FIRST = text(
    "INSERT INTO inbox (consumer, producer, position, event_id, outcome)"
    " SELECT :consumer, :producer, :position, :event_id, :outcome WHERE NOT EXISTS ("
    "  SELECT 1 FROM inbox_progress WHERE consumer = :consumer AND producer = :producer"
    "  AND position >= :position) OR EXISTS ("
    "  SELECT 1 FROM inbox WHERE consumer = :consumer AND producer = :producer AND position = :position"
    "  AND outcome = 'again')"
    " ON CONFLICT (consumer, producer, position) DO UPDATE SET outcome = excluded.outcome,"
    "  processed_at = clock_timestamp() WHERE inbox.outcome = 'again' RETURNING 1"
).bindparams(
    sa.bindparam("consumer", type_=Text),
    sa.bindparam("producer", type_=Text),
    sa.bindparam("position", type_=BigInteger),
    sa.bindparam("event_id", type_=Uuid),
    sa.bindparam("outcome", type_=Text),
)


async def first_time(session: AsyncSession, received: Received[E], consumer: str, outcome: str = "done") -> bool:
    """Record that `consumer` does this event, in the caller's transaction. False: it was done before.

    A double that arrives while the first is still at work waits here for its end.
    """
    row = await session.execute(
        _FIRST,
        {
            "consumer": consumer,
            "producer": received.producer,
            "position": received.position,
            "event_id": received.id,
            "outcome": outcome,
        },
    )
    return row.first() is not None


@dataclass(frozen=True)
class Gap:
    """Positions `first` to `last`, both missing."""

    first: int
    last: int


_SEEN_UP_TO = text(
    "INSERT INTO inbox_progress (consumer, producer) VALUES (:consumer, :producer)"
    " ON CONFLICT (consumer, producer) DO UPDATE SET position = inbox_progress.position RETURNING position"
)
# Gaps and the highest position come from one snapshot: what is committed between two would be passed over.
_GAPS = text(
    "WITH arrivals AS (SELECT position, lag(position, 1, :seen) OVER (ORDER BY position) AS before,"
    "  processed_at < clock_timestamp() - make_interval(secs => :grace) AS late"
    "  FROM inbox WHERE consumer = :consumer AND producer = :producer AND position > :seen)"
    " (SELECT before + 1 AS first, position - 1 AS last, late, NULL::bigint AS highest FROM arrivals"
    "  WHERE position > before + 1 ORDER BY position LIMIT 100)"
    " UNION ALL SELECT NULL, NULL, NULL, max(position) FROM arrivals"
)
_ADVANCE = text(
    "UPDATE inbox_progress SET position = greatest(position, :upto)"
    " WHERE consumer = :consumer AND producer = :producer RETURNING position"
)
# What is dead is remembered until it is repaired.
_FORGET = text(
    "DELETE FROM inbox WHERE consumer = :consumer AND producer = :producer AND position <= :position"
    " AND outcome NOT IN ('dead', 'again')"
)
_REACHED = text(
    "SELECT coalesce((SELECT position FROM inbox_progress WHERE consumer = :consumer AND producer = :producer), 0)"
)
_AGAIN = text(
    "UPDATE inbox SET outcome = 'again' WHERE consumer = :consumer AND producer = :producer"
    " AND outcome IN ('dead', 'again') RETURNING position"
)


async def gaps(session: AsyncSession, consumer: str, producer: str, grace: float, oldest: int = 1) -> list[Gap]:
    """Move the progress up to the first gap, and return the gaps (at most 100).

    A gap counts once an event beyond it has been done for `grace` seconds: until then it may be in flight.
    `oldest` is the first position that the producer's log still has: what lay before it will never come.
    """
    names = {"consumer": consumer, "producer": producer}
    seen = (await session.execute(_SEEN_UP_TO, names)).scalar_one()
    if oldest - 1 > seen:
        log.warning("%s has lost %d to %d of %s: the log begins later", consumer, seen + 1, oldest - 1, producer)
        seen = oldest - 1
    rows = (await session.execute(_GAPS, names | {"seen": seen, "grace": grace})).all()
    found = [row for row in rows if row.highest is None and row.first is not None]
    highest = next((row.highest for row in rows if row.highest is not None), seen)
    upto = found[0].first - 1 if found else highest
    reached = (await session.execute(_ADVANCE, names | {"upto": upto})).scalar_one()
    # Below the progress, the progress itself tells that an event was done.
    await session.execute(_FORGET, names | {"position": reached})
    return [Gap(row.first, row.last) for row in found if row.late]


async def reached(session: AsyncSession, consumer: str, producer: str) -> int:
    """The position up to which every event of `producer` was done, died, or was no concern of this consumer."""
    return int((await session.execute(_REACHED, {"consumer": consumer, "producer": producer})).scalar_one())


async def again(session: AsyncSession, consumer: str, producer: str) -> list[int]:
    """Take the dead events for not done: each is done when it comes again. Returns their positions."""
    rows = await session.execute(_AGAIN, {"consumer": consumer, "producer": producer})
    return sorted(rows.scalars())
