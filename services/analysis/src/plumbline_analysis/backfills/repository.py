"""The SQL of backfills: what is known of a stretch of history, and what is added to it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import numpy as np
from sqlalchemy import ARRAY, BigInteger, Double, Row, bindparam, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection.streams import Judgement
from plumbline_analysis.models import Anomaly, Detection, Detector, Signal
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.series.slices import Int64
from plumbline_common import db

_FIRST = text(
    "SELECT min(first.ts) FROM unnest(:numbers) AS wanted (number) CROSS JOIN LATERAL ("
    "  (SELECT ts FROM number_points WHERE signal = wanted.number AND ts > :after ORDER BY ts LIMIT 1)"
    "  UNION ALL (SELECT ts FROM histogram_points WHERE signal = wanted.number AND ts > :after ORDER BY ts LIMIT 1)"
    ") AS first"
).bindparams(bindparam("numbers", type_=ARRAY(BigInteger)))


async def first_point(session: AsyncSession, numbers: Sequence[int], after: datetime) -> datetime | None:
    """The time of the first point of any of these signals after that."""
    found: datetime | None = (await session.execute(_FIRST, {"numbers": list(numbers), "after": after})).scalar_one()
    return found


async def watched(session: AsyncSession, service: str, most: int) -> Sequence[Row[UUID]]:
    """The signals of a service that a detector watches, by their numbers; at most so many."""
    rows = await session.execute(
        select(Signal.id)
        .join(Detector, Detector.signal == Signal.number)
        .where(Signal.service == service)
        .order_by(Signal.number)
        .limit(most)
    )
    return rows.all()


async def scored(session: AsyncSession, number: int, after: int, until: int) -> Int64:
    """The slices in (after, until] that have a score; microseconds, shape (n,)."""
    rows = await session.scalars(
        select(Detection.ts).where(
            Detection.signal == number,
            Detection.ts > moment(after),
            Detection.ts <= moment(until),
            Detection.score.is_not(None),
        )
    )
    return np.array([micros(each) for each in rows], np.int64)


async def anomalies(session: AsyncSession, signal_id: UUID, since: int, until: int) -> list[tuple[int, int]]:
    """From when to when the anomalies of a signal went on that did so in [since, until]; microseconds."""
    rows = await session.execute(
        select(Anomaly.onset, func.coalesce(Anomaly.end, moment(until))).where(
            Anomaly.signal_id == signal_id,
            Anomaly.onset <= moment(until),
            or_(Anomaly.end.is_(None), Anomaly.end >= moment(since)),
        )
    )
    return [(micros(onset), micros(end)) for onset, end in rows]


_SAVE = text(
    "INSERT INTO detections (signal, ts, value, expected, lower, upper, score)"
    " SELECT :number, ts, value, nullif(expected, 'NaN'), nullif(lower, 'NaN'), nullif(upper, 'NaN'),"
    "  nullif(score, 'NaN') FROM unnest(:ts, :value, :expected, :lower, :upper, :score)"
    "  AS said (ts, value, expected, lower, upper, score)"
    " ON CONFLICT (signal, ts) DO UPDATE SET value = excluded.value, expected = excluded.expected,"
    "  lower = excluded.lower, upper = excluded.upper, score = excluded.score"
    " WHERE detections.score IS NULL AND excluded.score IS NOT NULL"
).bindparams(
    bindparam("ts", type_=ARRAY(db.timestamp())),
    *(bindparam(name, type_=ARRAY(Double)) for name in ("value", "expected", "lower", "upper", "score")),
)


async def save(session: AsyncSession, number: int, said: Sequence[tuple[int, float, Judgement]]) -> None:
    """Store judgements of slices; a score that there is already stays."""
    if not said:
        return
    columns = zip(*((moment(at), value, *judgement[:4]) for at, value, judgement in said), strict=True)
    names = ("ts", "value", "expected", "lower", "upper", "score")
    await session.execute(_SAVE, {"number": number} | dict(zip(names, map(list, columns), strict=True)))


async def mark(session: AsyncSession, number: int, start: datetime, end: datetime) -> None:
    """Note that history is judged from `start` on, where that joins what was judged already."""
    judged_from = func.coalesce(Detector.backfilled_from, Detector.watching_since)
    await session.execute(
        update(Detector)
        .where(Detector.signal == number, judged_from <= end, judged_from > start)
        .values(backfilled_from=start)
    )
