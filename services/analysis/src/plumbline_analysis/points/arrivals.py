"""Points that come when their slice may have been judged already: noted in the transaction that stores them, so that
the next evaluation judges just those slices again.

A point that is stored sooner than `timely` after its time is not noted: its slice is judged later than that. What an
open transaction still holds back is told by `unsettled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.moments import micros, moment, now
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Int64
from plumbline_analysis.sources.batch import Kind
from plumbline_common import db


@dataclass(frozen=True)
class News:
    """What may have come since an evaluation: points after `since`, where that is known, and those of the notes."""

    since: datetime | None
    notes: Sequence[int]


UNKNOWN = News(None, ())


async def note(session: AsyncSession, signal: Int64, time: Int64, timely: timedelta) -> None:
    """Note those of the points, which the transaction has stored, that are not timely; shape (n,) each, times in
    microseconds. Timely points cost no statement."""
    late = time <= micros(now() - timely)
    if late.any():
        oldest, signals = moment(int(time[late].min())), np.unique(signal[late]).tolist()
        await db.fetch(session, "INSERT INTO late_arrivals (oldest, signals) VALUES ($1, $2)", oldest, signals)


_UNSETTLED = (
    "SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND backend_xid IS NOT NULL"
)


async def unsettled(session: AsyncSession) -> datetime:
    """Whatever this service has stored and not yet committed, it began to store after this moment."""
    [(found,)] = await db.fetch(session, _UNSETTLED)
    return cast("datetime", found)


async def notes(session: AsyncSession) -> list[int]:
    """The notes that there are."""
    return [row["id"] for row in await db.fetch(session, "SELECT id FROM late_arrivals")]


_OLDEST = (
    "SELECT signal, min(oldest) FROM late_arrivals CROSS JOIN unnest(signals) AS signal"
    " WHERE id = ANY($1::bigint[]) AND (signal = ANY($2::bigint[]) OR $3::bool) GROUP BY signal"
)


async def oldest(session: AsyncSession, noted: Sequence[int], signals: Sequence[SignalInfo]) -> dict[int, int]:
    """By signal, the time of its oldest point that the notes tell of, in microseconds. Of a bucket of a histogram it
    is that of any signal: there is one beside it that has the sums."""
    if not noted or not signals:
        return {}
    buckets = [each.number for each in signals if each.kind is Kind.BUCKET]
    numbers = [each.number for each in signals]
    rows = await db.fetch(session, _OLDEST, noted, numbers, bool(buckets))
    found = {signal: micros(oldest) for signal, oldest in rows}
    return found | (dict.fromkeys(buckets, min(found.values())) if found else {})


async def forget(session: AsyncSession, noted: Sequence[int]) -> None:
    """These notes have been heeded."""
    if noted:
        await db.fetch(session, "DELETE FROM late_arrivals WHERE id = ANY($1::bigint[])", noted)
