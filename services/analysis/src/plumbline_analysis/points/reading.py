"""Points read back: those of a range, and of each stream the last one before, from which its increase counts."""

import io
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import ARRAY, BigInteger, Row, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Signal
from plumbline_analysis.moments import moment
from plumbline_analysis.points import copy_format
from plumbline_analysis.series import classic
from plumbline_analysis.series.classic import Family
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Float64, Int64
from plumbline_analysis.sources.batch import Kind, Layout, Temporality
from plumbline_analysis.threads import sized
from plumbline_common import db
from plumbline_common.errors import Invalid

LOOKBACK = timedelta(hours=1)
"""How far before a range the point is looked for from which the first increase is counted."""
GONE = timedelta(minutes=15)
"""A bucket without a point in a range, and so long before it, is none of its histogram any more: the bounds were
changed. One that is missing for less has not come yet."""
MAX_POINTS = 500_000
MAX_HISTOGRAMS = 50_000
_ARRAYS_AT_ONCE = 4_000
_ANY = -1
"""Stands for whatever start time."""

Columns = tuple[Int64, Int64, Int64, Float64]


def info(signal: Signal | Row[Any]) -> SignalInfo:
    """Of a signal, or of a row with its columns."""
    return SignalInfo(
        signal.number, signal.unit, Kind(signal.kind), Temporality(signal.temporality), signal.monotonic
    )


async def points(
    session: AsyncSession,
    signals: Sequence[SignalInfo],
    after: datetime,
    until: datetime,
    lookback: timedelta = LOOKBACK,
) -> Points:
    """The points in (after, until], and of each of their streams the last one in the `lookback` before.

    Raises `Invalid` where that is more than `MAX_POINTS`, or `MAX_HISTOGRAMS` of histograms.
    """
    found = await all_points(session, signals, after, until, lookback, MAX_POINTS, MAX_HISTOGRAMS)
    if len(found.time) >= MAX_POINTS:
        raise _too_many(MAX_POINTS, "points")
    if len(found.histograms) >= MAX_HISTOGRAMS:
        raise _too_many(MAX_HISTOGRAMS, "histograms")
    return found


async def all_points(
    session: AsyncSession,
    signals: Sequence[SignalInfo],
    after: datetime,
    until: datetime,
    lookback: timedelta,
    most: int | None = None,
    most_histograms: int | None = None,
) -> Points:
    """As `points`, where there are no more than so many inside the range."""
    plain = [signal for signal in signals if not signal.is_histogram]
    buckets = [signal for signal in signals if signal.kind is Kind.BUCKET]
    histograms = [signal for signal in signals if signal.is_histogram and signal.kind is not Kind.BUCKET]
    found = Points({signal.number: signal for signal in signals})
    if plain:
        found = Points(found.signals, *await _numbers(session, plain, after, until, lookback, most))
    if histograms or buckets:
        rows = await _histograms(session, histograms, after, until, lookback, most_histograms)
        rows += await _classic(session, buckets, after, until, lookback, most)
        found = Points(found.signals, found.signal, found.time, found.start, found.value, rows)
    return found


def _inside(table: str, columns: str) -> str:
    return (
        f"SELECT {columns} FROM {table} WHERE signal = ANY($1::bigint[])"  # noqa: S608 (constants)
        " AND ts > $2::timestamptz AND ts <= $3::timestamptz LIMIT $4::int"
    )


def _before(table: str, columns: str) -> str:
    # A point is never older than the start of its stream: of a new one nothing is looked for.
    return (
        f"SELECT before.* FROM unnest($1::bigint[], $2::timestamptz[]) AS stream (signal, start_ts)"  # noqa: S608
        f" CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE {table}.signal = stream.signal"
        f"  AND (stream.start_ts IS NULL OR {table}.start_ts = stream.start_ts)"
        "  AND ts >= coalesce(stream.start_ts, '-infinity') AND ts > $4::timestamptz AND ts <= $3::timestamptz"
        "  ORDER BY ts DESC LIMIT 1) AS before"
    )


_TIMES = "(extract(epoch FROM ts) * 1000000)::bigint, (extract(epoch FROM start_ts) * 1000000)::bigint"
_NUMBERS = _inside("number_points", ", ".join(copy_format.NUMBER_COLUMNS))
_NUMBERS_BEFORE = _before("number_points", f"signal, {_TIMES}, value")
_HISTOGRAM = f"signal, {_TIMES}, layout, count, sum, counts, position, zero_count, negative_position, negative_counts"
_HISTOGRAMS = _inside("histogram_points", _HISTOGRAM)
_HISTOGRAMS_BEFORE = _before("histogram_points", _HISTOGRAM)


async def _numbers(
    session: AsyncSession,
    signals: Sequence[SignalInfo],
    after: datetime,
    until: datetime,
    lookback: timedelta,
    most: int | None,
) -> Columns:
    connection = await db.driver(session)
    data = io.BytesIO()
    numbers = [signal.number for signal in signals]
    await connection.copy_from_query(_NUMBERS, numbers, after, until, most, output=data, format="binary")
    inside = copy_format.read_numbers(data.getvalue())
    of = await sized(len(inside[0]), streams, signals, inside[0], inside[2])
    rows = await connection.fetch(_NUMBERS_BEFORE, *of, after, after - lookback) if of[0] else []
    if not rows:
        return inside
    signal, time, start, value = zip(*rows, strict=True)
    before = (np.array(signal), np.array(time), np.array(start), np.array(value, np.float64))
    return tuple(np.concatenate(pair) for pair in zip(inside, before, strict=True))  # type: ignore[return-value]


def streams(signals: Sequence[SignalInfo], signal: Int64, start: Int64) -> tuple[list[int], list[datetime | None]]:
    """The streams that have a point before the first that is read: signals and start times.

    Points of levels are one stream, whatever start times they carry; those of delta sums need none before them.
    """
    delta = np.array([each.number for each in signals if each.temporality is Temporality.DELTA], np.int64)
    levels = np.array([each.number for each in signals if not (each.is_counter or each.is_histogram)], np.int64)
    kept = ~np.isin(signal, delta)
    signal, start = signal[kept], np.where(np.isin(signal, levels), _ANY, start)[kept]
    begin = np.ones(len(signal), bool)
    begin[1:] = (np.diff(signal) != 0) | (np.diff(start) != 0)
    found = list(dict.fromkeys(zip(signal[begin].tolist(), start[begin].tolist(), strict=True)))
    return [each[0] for each in found], [None if each[1] == _ANY else moment(each[1]) for each in found]


async def _histograms(
    session: AsyncSession,
    signals: Sequence[SignalInfo],
    after: datetime,
    until: datetime,
    lookback: timedelta,
    most: int | None,
) -> list[Point]:
    connection = await db.driver(session)
    found: list[Point] = []
    layouts: dict[int, Layout] = {}
    # Some signals at a time: decoding a hundred thousand arrays in one go would hold the event loop. Few senders
    # export more often than every second.
    expected = 1 + int((until - after).total_seconds())
    at_once = max(1, _ARRAYS_AT_ONCE // expected)
    for place in range(0, len(signals), at_once):
        part = signals[place : place + at_once]
        rows = await connection.fetch(_HISTOGRAMS, [each.number for each in part], after, until, most)
        columns = (np.array([row[index] for row in rows], np.int64) for index in (0, 2))
        of = streams(part, *columns)
        if of[0]:
            rows += await connection.fetch(_HISTOGRAMS_BEFORE, *of, after, after - lookback)
        if missing := {row[3] for row in rows} - layouts.keys():
            layouts |= await bucket_layouts(connection, list(missing))
        found += await sized(len(rows), _read, rows, layouts)
        if most is not None and len(found) >= most:
            break
    return found


_FAMILIES = text(
    "SELECT bucket.number, bucket.attributes->>'le' AS le, total.number AS sum, min(bucket.number) OVER (PARTITION BY"
    "  bucket.source, bucket.metric, bucket.unit, bucket.scope, bucket.attributes - 'le') AS family"
    " FROM signals AS bucket LEFT JOIN signals AS total ON total.metric = bucket.metric || '_sum'"
    "  AND total.kind = 'sum' AND total.source = bucket.source AND total.unit = bucket.unit"
    "  AND total.scope = bucket.scope AND total.attributes = bucket.attributes - 'le'"
    " WHERE bucket.number = ANY(:numbers)"
).bindparams(bindparam("numbers", type_=ARRAY(BigInteger)))


async def _classic(
    session: AsyncSession,
    buckets: Sequence[SignalInfo],
    after: datetime,
    until: datetime,
    lookback: timedelta,
    most: int | None,
) -> list[Point]:
    """The histograms that these buckets make. Raises `Invalid` where the buckets have too many points."""
    if not buckets:
        return []
    bounds: dict[int, dict[int, str]] = {}
    sums: dict[int, int | None] = {}
    for row in await session.execute(_FAMILIES, {"numbers": [each.number for each in buckets]}):
        bounds.setdefault(row.family, {})[row.number] = row.le
        sums[row.family] = row.sum
    totals = [
        SignalInfo(sum, "", Kind.SUM, Temporality.CUMULATIVE, True) for sum in set(sums.values()) if sum is not None
    ]
    signal, time, start, value = await _numbers(session, [*buckets, *totals], after, until, lookback, most)
    if most is not None and len(time) >= most:
        raise _too_many(most, "points")
    silent = {each.number for each in buckets}.difference(np.unique(signal).tolist())
    gone = silent - await _heard(session, silent, after - GONE, until)
    families = []
    for family, of_it in bounds.items():
        kept = {number: le for number, le in of_it.items() if number not in gone}
        if kept and (found := Family.of(kept, sums[family])) is not None:
            families.append(found)
    return await sized(len(time), classic.joined, families, signal, time, start, value)


_HEARD = (
    "SELECT number FROM unnest($1::bigint[]) AS number WHERE EXISTS ("
    "SELECT FROM number_points WHERE signal = number AND ts > $2::timestamptz AND ts <= $3::timestamptz)"
)


async def _heard(session: AsyncSession, signals: Collection[int], after: datetime, until: datetime) -> set[int]:
    """Those that have a point in (after, until]."""
    if not signals:
        return set()
    connection = await db.driver(session)
    return {row[0] for row in await connection.fetch(_HEARD, list(signals), after, until)}


def _too_many(most: int, what: str) -> Invalid:
    return Invalid(f"the range holds more than {most} {what}: ask for a shorter one")


async def bucket_layouts(connection: Any, ids: list[int]) -> dict[int, Layout]:
    rows = await connection.fetch(
        "SELECT id, bounds, scale, zero_threshold FROM bucket_layouts WHERE id = ANY($1::int[])", ids
    )
    return {row[0]: Layout(tuple(row[1]), row[2], row[3]) for row in rows}


def _read(rows: Sequence[Any], layouts: dict[int, Layout]) -> list[Point]:
    return [_point(row, layouts) for row in rows]


def _point(row: Any, layouts: dict[int, Layout]) -> Point:
    return Point(
        signal=row[0],
        start=row[2],
        time=row[1],
        layout=layouts[row[3]],
        count=row[4],
        sum=row[5],
        counts=tuple(row[6]),
        offset=row[7],
        zero_count=row[8],
        negative_offset=row[9],
        negative_counts=tuple(row[10]),
    )
