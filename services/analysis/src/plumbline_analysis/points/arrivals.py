"""Points that come when their slice may have been judged already: noted in the transaction that stores them, so that
the next evaluation judges just those slices again.

A point that is stored sooner than `timely` after its time is not noted: its slice is judged later than that. What an
open transaction still holds back is told by `unsettled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import ARRAY, BigInteger, Boolean, bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import LateArrival
from plumbline_analysis.moments import micros, moment, now
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Int64
from plumbline_analysis.sources.batch import Kind


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
        row = {"oldest": moment(int(time[late].min())), "signals": np.unique(signal[late]).tolist()}
        await session.execute(insert(LateArrival), row)


_UNSETTLED = text(
    "SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND backend_xid IS NOT NULL"
)


async def unsettled(session: AsyncSession) -> datetime:
    """Whatever this service has stored and not yet committed, it began to store after this moment."""
    found: datetime = (await session.execute(_UNSETTLED)).scalar_one()
    return found


async def notes(session: AsyncSession) -> list[int]:
    """The notes that there are."""
    return list(await session.scalars(select(LateArrival.id)))


_OLDEST = text(
    "SELECT signal, min(oldest) AS oldest FROM late_arrivals CROSS JOIN unnest(signals) AS signal"
    " WHERE id = ANY(:noted) AND (signal = ANY(:signals) OR :all) GROUP BY signal"
).bindparams(
    bindparam("noted", type_=ARRAY(BigInteger)),
    bindparam("signals", type_=ARRAY(BigInteger)),
    bindparam("all", type_=Boolean),
)


async def oldest(session: AsyncSession, noted: Sequence[int], signals: Sequence[SignalInfo]) -> dict[int, int]:
    """By signal, the time of its oldest point that the notes tell of, in microseconds. Of a bucket of a histogram it
    is that of any signal: there is one beside it that has the sums."""
    if not noted or not signals:
        return {}
    buckets = [each.number for each in signals if each.kind is Kind.BUCKET]
    wanted = {"noted": noted, "signals": [each.number for each in signals], "all": bool(buckets)}
    found = {row.signal: micros(row.oldest) for row in await session.execute(_OLDEST, wanted)}
    return found | (dict.fromkeys(buckets, min(found.values())) if found else {})


async def forget(session: AsyncSession, noted: Sequence[int]) -> None:
    """These notes have been heeded."""
    if noted:
        given = bindparam("noted", list(noted), ARRAY(BigInteger))
        await session.execute(delete(LateArrival).where(LateArrival.id == given.any_()))
