"""The SQL of rollups: how far they are, which hours came late, and their rows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Interval, Row, bindparam, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import LateHour, RollupProgress, Signal
from plumbline_analysis.moments import moment
from plumbline_analysis.points import copy_format, reading
from plumbline_analysis.rollups.rules import LEVELS, Level
from plumbline_analysis.series.rolled import Rolled, RolledHistograms
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Layout
from plumbline_common import db
from plumbline_common.offload import in_thread

_SIGNALS = bindparam("signals", type_=ARRAY(BigInteger))


# --- How far they are -----------------------------------------------------------------------------------


async def progress(session: AsyncSession) -> RollupProgress | None:
    return (await session.execute(select(RollupProgress))).scalar_one_or_none()


_BEGIN = text(
    "INSERT INTO rollup_progress (id, rolled_to, signal)"
    " SELECT 1, date_trunc('hour', greatest(:since, least(now(), min(first_seen)) - :past)), 0 FROM signals"
    " ON CONFLICT (id) DO UPDATE SET rolled_to = excluded.rolled_to, signal = 0"
    "  WHERE rollup_progress.rolled_to < :since"
).bindparams(bindparam("since", type_=db.timestamp()), bindparam("past", type_=Interval))


async def begin(session: AsyncSession, since: datetime, past: timedelta) -> None:
    """Begin where the first signal may have its first point, `past` before it was seen, but not before `since`: from
    there on points are kept."""
    await session.execute(_BEGIN, {"since": since, "past": past})


_SETTLED = text(
    "SELECT least(now(), min(xact_start)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user"
)


async def settled(session: AsyncSession) -> datetime:
    """Whatever a transaction of this service that is still open stores, it began to do so after this moment."""
    found: datetime = (await session.execute(_SETTLED)).scalar_one()
    return found


async def advance(session: AsyncSession, done: tuple[datetime, int], then: tuple[datetime, int]) -> bool:
    """False where another process came first."""
    moved = await session.execute(
        update(RollupProgress)
        .where(RollupProgress.rolled_to == done[0], RollupProgress.signal == done[1])
        .values(rolled_to=then[0], signal=then[1])
        .returning(RollupProgress.id)
    )
    return moved.first() is not None


async def some_signals(session: AsyncSession, after: int, most: int) -> Sequence[Signal]:
    """In the order of their numbers, those after `after`."""
    query = select(Signal).where(Signal.number > after).order_by(Signal.number).limit(most)
    return (await session.execute(query)).scalars().all()


# --- Late points ----------------------------------------------------------------------------------------


async def forget_late(session: AsyncSession, before: datetime) -> None:
    """Hours whose points, or the points before them, are no longer there stay as they were rolled up."""
    await session.execute(delete(LateHour).where(LateHour.hour <= before))


@dataclass(frozen=True)
class Late:
    """An hour of some signals; `leads` are those of which a point, not only its predecessor, was late."""

    hour: datetime
    signals: Sequence[Signal]
    leads: frozenset[int]
    ids: Sequence[int]


_LATE = text(
    "SELECT hour, signal, bool_or(NOT is_next) AS leads, array_agg(id) AS ids FROM late_hours"
    " WHERE hour = (SELECT min(hour) FROM late_hours WHERE hour > :after AND hour <= :until)"
    " GROUP BY hour, signal ORDER BY signal LIMIT :most"
).bindparams(bindparam("after", type_=db.timestamp()), bindparam("until", type_=db.timestamp()))


async def late(session: AsyncSession, after: datetime, until: datetime, most: int) -> Late | None:
    """The earliest late hour in (after, until], of at most so many signals."""
    rows = (await session.execute(_LATE, {"after": after, "until": until, "most": most})).all()
    if not rows:
        return None
    wanted = select(Signal).where(Signal.number.in_([row.signal for row in rows]))
    return Late(
        rows[0].hour,
        (await session.execute(wanted)).scalars().all(),
        frozenset(row.signal for row in rows if row.leads),
        [id for row in rows for id in row.ids],
    )


async def settle_late(session: AsyncSession, ids: Sequence[int]) -> bool:
    """False where another process came first."""
    gone = await session.execute(delete(LateHour).where(LateHour.id.in_(ids)).returning(LateHour.id))
    return len(gone.all()) == len(ids)


def _following(table: str) -> str:
    return (
        "SELECT stream.signal, following.ts"  # noqa: S608 (one of two constants)
        " FROM unnest($1::bigint[], $2::timestamptz[]) AS stream (signal, start_ts)"
        f" CROSS JOIN LATERAL (SELECT ts FROM {table} WHERE {table}.signal = stream.signal"
        f"  AND (stream.start_ts IS NULL OR {table}.start_ts = stream.start_ts)"
        "  AND ts > $3::timestamptz AND ts <= $4::timestamptz ORDER BY ts LIMIT 1) AS following"
    )


_FOLLOWING = {table: _following(table) for table in ("number_points", "histogram_points")}


async def following(
    session: AsyncSession,
    table: str,
    streams: tuple[Sequence[int], Sequence[datetime | None]],
    after: datetime,
    until: datetime,
) -> list[tuple[int, datetime]]:
    """The signal and time of each stream's first point in (after, until]; `table` one of the two of points."""
    if not streams[0]:
        return []
    connection = await db.driver(session)
    return [(row[0], row[1]) for row in await connection.fetch(_FOLLOWING[table], *streams, after, until)]


# --- Rows -----------------------------------------------------------------------------------------------


async def clear(session: AsyncSession, numbers: Sequence[int], hour: datetime) -> None:
    """Drop what is rolled up of the hour, of these signals."""
    span = {"signals": list(numbers), "after": hour - timedelta(hours=1), "until": hour}
    for level in LEVELS:
        for table in (level.numbers, level.histograms, level.detections):
            statement = f"DELETE FROM {table} WHERE signal = ANY(:signals) AND ts > :after AND ts <= :until"  # noqa: S608
            await session.execute(text(statement).bindparams(_SIGNALS), span)


async def save_numbers(session: AsyncSession, level: Level, rolled: Rolled) -> None:
    if len(rolled):
        connection = await db.driver(session)
        source = io.BytesIO(copy_format.number_rollups(rolled))
        await connection.copy_to_table(
            level.numbers, source=source, columns=copy_format.NUMBER_ROLLUP_COLUMNS, format="binary"
        )


async def save_histograms(
    session: AsyncSession, level: Level, parts: Sequence[RolledHistograms], layouts: dict[Layout, int]
) -> None:
    if parts:
        connection = await db.driver(session)
        source = io.BytesIO(await in_thread(copy_format.histogram_rollups, parts, layouts))
        await connection.copy_to_table(
            level.histograms, source=source, columns=copy_format.HISTOGRAM_ROLLUP_COLUMNS, format="binary"
        )


def _save_detections(level: Level) -> str:
    return (
        f"INSERT INTO {level.detections}"  # noqa: S608 (constants)
        " SELECT signal, date_bin(step, ts - interval '1 microsecond', timestamptz 'epoch') + step AS slice,"
        " count(*), sum(value), count(expected), sum(expected), min(lower), max(upper), max(score)"
        f" FROM detections, (SELECT {level.step} * interval '1 microsecond' AS step) AS asked"
        " WHERE signal = ANY(:signals) AND ts > :after AND ts <= :until GROUP BY signal, slice"
    )


_SAVE_DETECTIONS = [text(_save_detections(level)).bindparams(_SIGNALS) for level in LEVELS]


async def save_detections(session: AsyncSession, indicators: Sequence[int], hour: datetime) -> None:
    """Roll up what the detectors of these indicators said in the hour."""
    span = {"signals": list(indicators), "after": hour - timedelta(hours=1), "until": hour}
    for statement in _SAVE_DETECTIONS:
        await session.execute(statement, span)


# --- Reading --------------------------------------------------------------------------------------------


async def _copied(
    session: AsyncSession, table: str, columns: Sequence[str], signal: int, after: datetime, until: datetime
) -> bytes:
    connection = await db.driver(session)
    data = io.BytesIO()
    await connection.copy_from_query(
        f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 (constants)
        " WHERE signal = $1::bigint AND ts > $2::timestamptz AND ts <= $3::timestamptz",
        signal,
        after,
        until,
        output=data,
        format="binary",
    )
    return data.getvalue()


async def numbers(session: AsyncSession, level: Level, signal: int, after: datetime, until: datetime) -> Rolled:
    data = await _copied(session, level.numbers, copy_format.NUMBER_ROLLUP_COLUMNS, signal, after, until)
    return copy_format.read_number_rollups(data)


async def histograms(
    session: AsyncSession, level: Level, signal: int, after: datetime, until: datetime
) -> list[RolledHistograms]:
    data = await _copied(session, level.histograms, copy_format.HISTOGRAM_ROLLUP_COLUMNS, signal, after, until)
    found = await in_thread(copy_format.read_histogram_rollups, data)
    layouts = await reading.bucket_layouts(await db.driver(session), list({number for number, _ in found}))
    return [replace(part, layout=layouts[number]) for number, part in found]


_POINTS_OF_DETECTIONS = text(
    "SELECT date_bin(step, ts - interval '1 microsecond', timestamptz 'epoch') + step AS time, avg(value) AS value,"
    " avg(expected) AS expected, min(lower) AS lower, max(upper) AS upper, max(score) AS score"
    " FROM detections, (SELECT CAST(:step AS bigint) * interval '1 microsecond' AS step) AS asked"
    " WHERE signal = :signal AND ts > :after AND ts <= :until GROUP BY 1 ORDER BY 1"
)


async def all_detections(session: AsyncSession, number: int, grid: Grid) -> Sequence[Row[Any]]:
    """What the detector said in each slice. A slice that holds several of its points keeps what matters of them: the
    mean value, the whole band, the worst score."""
    rows = await session.execute(
        _POINTS_OF_DETECTIONS,
        {"step": grid.step, "signal": number, "after": moment(grid.start), "until": moment(grid.end)},
    )
    return rows.all()


def _detections(level: Level) -> str:
    return (
        "SELECT date_bin(step, ts - interval '1 microsecond', timestamptz 'epoch') + step AS time,"  # noqa: S608
        " sum(value) / sum(count) AS value, sum(expected) / nullif(sum(expected_count), 0) AS expected,"
        " min(lower) AS lower, max(upper) AS upper, max(score) AS score FROM ("
        " SELECT ts, count, value, expected_count, expected, lower, upper, score"
        f"  FROM {level.detections} WHERE signal = :signal AND ts > :after AND ts <= least(:until, :rolled_to)"
        " UNION ALL SELECT ts, 1, value, (expected IS NOT NULL)::int, expected, lower, upper, score"
        "  FROM detections WHERE signal = :signal AND ts > greatest(:after, :rolled_to) AND ts <= :until) AS parts,"
        " (SELECT CAST(:step AS bigint) * interval '1 microsecond' AS step) AS asked GROUP BY 1 ORDER BY 1"
    )


_TIMES = [bindparam(name, type_=db.timestamp()) for name in ("after", "until", "rolled_to")]
_DETECTIONS = {level: text(_detections(level)).bindparams(*_TIMES) for level in LEVELS}


async def detections(
    session: AsyncSession, level: Level, number: int, grid: Grid, rolled_to: datetime
) -> Sequence[Row[Any]]:
    """As `all_detections`, from the rollups as far as they are."""
    span = {"step": grid.step, "after": moment(grid.start), "until": moment(grid.end)}
    rows = await session.execute(_DETECTIONS[level], span | {"signal": number, "rolled_to": rolled_to})
    return rows.all()
