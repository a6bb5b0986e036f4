"""Partitions by days of the tables of points, rollups and logs: made ahead, dropped when their retention is over."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Any constant will do: it keeps two processes from making the same partition. ("parts" in ASCII)
_LOCK = 0x7061727473
_EPOCH = date(1970, 1, 1)
_NAME = re.compile(r"^[a-z0-9_]+_(\d{8})$")
# Functions of the schema's owner: the service's role owns no table.
_MAKE = text("SELECT make_partition(:table, :name, :day, :days)")
_DROP = text("SELECT drop_partition(:name)")


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


async def maintain(
    session: AsyncSession, tables: Sequence[str], first: date, last: date, expired_before: date, days: int = 1
) -> None:
    """Make the partitions of `tables` for the days `first` to `last` and drop those of days before `expired_before`.

    A partition holds so many `days`, counted from 1970-01-01. In the caller's transaction. Safe with several
    processes: one does it, the others then find it done.
    """
    length = timedelta(days=days)
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    there = await existing(session, tables)
    for table in tables:
        day = first - timedelta(days=(first - _EPOCH).days % days)
        while day <= last:
            if (name := _name(table, day)) not in there:
                await session.execute(_MAKE, {"table": table, "name": name, "day": day, "days": days})
            day += length
    for name, day in there.items():
        if day + length <= expired_before:
            await session.execute(_DROP, {"name": name})


async def existing(session: AsyncSession, tables: Sequence[str]) -> dict[str, date]:
    """The partitions of `tables`, and the first day of each."""
    rows = await session.scalars(
        text(
            "SELECT part.relname FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid"
            " JOIN pg_class whole ON whole.oid = inhparent"
            " WHERE whole.relname = ANY(:tables) AND whole.relnamespace = current_schema()::regnamespace"
        ),
        {"tables": list(tables)},
    )
    days = {}
    for name in rows:
        if match := _NAME.match(name):
            days[name] = datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC).date()
    return days
