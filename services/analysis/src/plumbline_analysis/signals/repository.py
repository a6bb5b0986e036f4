"""The SQL of signals, and of reading points back."""

import io
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Row, Text, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection import alarm
from plumbline_analysis.models import DetectorRevision, Signal
from plumbline_analysis.moments import moment
from plumbline_analysis.points import copy_format
from plumbline_analysis.points.repository import driver
from plumbline_analysis.series import classic
from plumbline_analysis.series.classic import Family
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.series.slices import Float64, Grid, Int64
from plumbline_analysis.sources.batch import Kind, Layout, Temporality
from plumbline_analysis.threads import sized
from plumbline_common.errors import Invalid, NotFound

LOOKBACK = timedelta(hours=1)
"""How far before a range the point is looked for from which the first increase is counted."""
MAX_POINTS = 500_000
MAX_HISTOGRAMS = 50_000
_ARRAYS_AT_ONCE = 4_000


# --- Signals --------------------------------------------------------------------------------------------


async def one(session: AsyncSession, id: UUID) -> Signal:
    """Raises `NotFound`."""
    found = (await session.execute(select(Signal).where(Signal.id == id))).scalar_one_or_none()
    if found is None:
        raise NotFound(f"no signal has the id {id}")
    return found


async def page(
    session: AsyncSession, metric: str | None, service: str | None, skip: int, limit: int
) -> tuple[Sequence[Signal], int]:
    """One page in the order in which signals were first seen, the newest first, and how many there are in all."""
    wanted = []
    if metric is not None:
        wanted.append(Signal.metric == metric)
    if service is not None:
        wanted.append(Signal.service == service)
    rows = select(Signal).where(*wanted).order_by(Signal.number.desc()).offset(skip).limit(limit)
    total = (await session.execute(select(func.count()).select_from(Signal).where(*wanted))).scalar_one()
    return (await session.execute(rows)).scalars().all(), total


_LATEST = text(
    "SELECT wanted.number, ("
    "  SELECT max(ts) FROM ("
    "   (SELECT ts FROM number_points WHERE signal = wanted.number ORDER BY ts DESC LIMIT 1)"
    "   UNION ALL (SELECT ts FROM histogram_points WHERE signal = wanted.number ORDER BY ts DESC LIMIT 1)"
    "   UNION ALL (SELECT ts FROM detections WHERE signal = wanted.number ORDER BY ts DESC LIMIT 1)"
    "  ) AS newest) AS ts FROM unnest(CAST(:numbers AS bigint[])) AS wanted (number)"
)


async def latest_points(session: AsyncSession, numbers: Sequence[int]) -> dict[int, datetime]:
    """The time of each signal's newest point."""
    rows = await session.execute(_LATEST, {"numbers": list(numbers)})
    return {row.number: row.ts for row in rows if row.ts is not None}


_MATCHING = text(
    "SELECT asked.place, number, unit, kind, temporality, monotonic"
    " FROM unnest(:metrics, :attributes) WITH ORDINALITY AS asked (metric, attributes, place)"
    " JOIN signals ON signals.metric = asked.metric AND kind <> 'indicator'"
    "  AND signals.attributes @> asked.attributes::jsonb ORDER BY number"
).bindparams(bindparam("metrics", type_=ARRAY(Text)), bindparam("attributes", type_=ARRAY(Text)))


async def matching(
    session: AsyncSession, asked: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[SignalInfo]]:
    """For each metric and attributes (a JSON object), the signals whose attributes hold all of these."""
    places = list(asked)
    found: dict[tuple[str, str], list[SignalInfo]] = {each: [] for each in places}
    rows = await session.execute(
        _MATCHING, {"metrics": [each[0] for each in places], "attributes": [each[1] for each in places]}
    )
    for row in rows:
        signal = SignalInfo(row.number, row.unit, Kind(row.kind), Temporality(row.temporality), row.monotonic)
        found[places[row.place - 1]].append(signal)
    return found


_SENDING = text(
    "SELECT metric, number, unit, kind, temporality, monotonic FROM signals WHERE service = :service"
    " AND kind <> 'indicator' AND EXISTS ("
    "  SELECT FROM number_points WHERE signal = number AND ts > :after AND ts <= :until"
    "  UNION ALL SELECT FROM histogram_points WHERE signal = number AND ts > :after AND ts <= :until)"
    " ORDER BY metric, number LIMIT :most"
)


async def sending(
    session: AsyncSession, service: str, after: datetime, until: datetime, most: int
) -> dict[str, list[SignalInfo]]:
    """The signals of a service that had points in (after, until], by metric; at most so many, whole metrics."""
    rows = (
        await session.execute(_SENDING, {"service": service, "after": after, "until": until, "most": most + 1})
    ).all()
    found: dict[str, list[SignalInfo]] = {}
    for row in rows:
        signal = SignalInfo(row.number, row.unit, Kind(row.kind), Temporality(row.temporality), row.monotonic)
        found.setdefault(row.metric, []).append(signal)
    if len(rows) > most:
        del found[rows[-1].metric]
    return found


def info(signal: Signal) -> SignalInfo:
    return SignalInfo(
        signal.number, signal.unit, Kind(signal.kind), Temporality(signal.temporality), signal.monotonic
    )


def bar_of_signal() -> ColumnElement[float]:
    """The score at which the detector of a signal alarms, as SQL where `Signal` is selected from."""
    newest = (
        select(DetectorRevision.bar)
        .where(DetectorRevision.signal == Signal.number)
        .order_by(DetectorRevision.revision.desc())
        .limit(1)
    )
    return func.coalesce(newest.scalar_subquery(), alarm.Config().bar)


# --- Points ---------------------------------------------------------------------------------------------


async def points(session: AsyncSession, signals: Sequence[SignalInfo], after: datetime, until: datetime) -> Points:
    """The points in (after, until], and of each of their streams the last one before.

    Raises `Invalid` where that is more than `MAX_POINTS`, or `MAX_HISTOGRAMS` of histograms.
    """
    by_number = {signal.number: signal for signal in signals}
    plain = [signal.number for signal in signals if not signal.is_histogram]
    buckets = [signal.number for signal in signals if signal.kind is Kind.BUCKET]
    histograms = [signal.number for signal in signals if signal.is_histogram and signal.kind is not Kind.BUCKET]
    found = Points(by_number)
    if plain:
        found = Points(by_number, *await _read_numbers(session, plain, after, until))
    if histograms or buckets:
        rows = await _histograms(session, histograms, after, until) if histograms else []
        rows += await _classic(session, buckets, after, until) if buckets else []
        found = Points(by_number, found.signal, found.time, found.start, found.value, rows)
    return found


async def _read_numbers(
    session: AsyncSession, signals: list[int], after: datetime, until: datetime
) -> tuple[Int64, Int64, Int64, Float64]:
    """Signal, time, start and value. Raises `Invalid`."""
    found = copy_format.read_numbers(await _numbers(session, signals, after, until))
    if len(found[0]) >= MAX_POINTS:
        raise Invalid(f"the range holds more than {MAX_POINTS} points: ask for a shorter one")
    return found


_FAMILIES = text(
    "SELECT bucket.number, bucket.attributes->>'le' AS le, total.number AS sum, min(bucket.number) OVER (PARTITION BY"
    "  bucket.source, bucket.metric, bucket.unit, bucket.scope, bucket.attributes - 'le') AS family"
    " FROM signals AS bucket LEFT JOIN signals AS total ON total.metric = bucket.metric || '_sum'"
    "  AND total.kind = 'sum' AND total.source = bucket.source AND total.unit = bucket.unit"
    "  AND total.scope = bucket.scope AND total.attributes = bucket.attributes - 'le'"
    " WHERE bucket.number = ANY(:numbers)"
).bindparams(bindparam("numbers", type_=ARRAY(BigInteger)))


async def _classic(session: AsyncSession, buckets: list[int], after: datetime, until: datetime) -> list[Point]:
    """The histograms that these buckets make."""
    bounds: dict[int, dict[int, str]] = {}
    sums: dict[int, int | None] = {}
    for row in await session.execute(_FAMILIES, {"numbers": buckets}):
        bounds.setdefault(row.family, {})[row.number] = row.le
        sums[row.family] = row.sum
    families = [each for family in bounds if (each := Family.of(bounds[family], sums[family])) is not None]
    wanted = [*buckets, *(each.sum for each in families if each.sum is not None)]
    signal, time, start, value = await _read_numbers(session, wanted, after, until)
    return await sized(len(time), classic.joined, families, signal, time, start, value)


_SIBLINGS = text(
    "SELECT each.number, each.unit, each.kind, each.temporality, each.monotonic FROM signals AS one"
    " JOIN signals AS each ON each.metric = one.metric AND each.kind = one.kind AND each.source = one.source"
    "  AND each.unit = one.unit AND each.scope = one.scope AND each.attributes - 'le' = one.attributes - 'le'"
    " WHERE one.number = :number"
)


async def with_siblings(session: AsyncSession, signal: SignalInfo) -> list[SignalInfo]:
    """The signals that are read together with this one: of a bucket, all buckets of its histogram."""
    if signal.kind is not Kind.BUCKET:
        return [signal]
    rows = await session.execute(_SIBLINGS, {"number": signal.number})
    return [
        SignalInfo(row.number, row.unit, Kind(row.kind), Temporality(row.temporality), row.monotonic) for row in rows
    ]


def _with_predecessors(table: str, columns: str) -> str:
    # Points of one stream share their start time. The stream's last point before the range is where its first
    # increase inside begins.
    return (
        f"WITH inside AS MATERIALIZED (SELECT {columns} FROM {table}"  # noqa: S608 (constants)
        " WHERE signal = ANY($1::bigint[]) AND ts > $2::timestamptz AND ts <= $3::timestamptz LIMIT $5::int)"
        f" SELECT {columns} FROM inside UNION ALL SELECT before.*"
        " FROM (SELECT DISTINCT signal, start_ts FROM inside) AS stream CROSS JOIN LATERAL ("
        f"  SELECT {columns} FROM {table} WHERE {table}.signal = stream.signal AND {table}.start_ts = stream.start_ts"
        "  AND ts > $4::timestamptz AND ts <= $2::timestamptz ORDER BY ts DESC LIMIT 1) AS before"
    )


_NUMBERS = _with_predecessors("number_points", ", ".join(copy_format.NUMBER_COLUMNS))
_HISTOGRAMS = (
    "SELECT points.signal, (extract(epoch FROM start_ts) * 1000000)::bigint,"  # noqa: S608 (constants)
    " (extract(epoch FROM ts) * 1000000)::bigint, layout, count, sum, counts, position, zero_count,"
    " negative_position, negative_counts FROM ("
    + _with_predecessors("histogram_points", ", ".join(copy_format.HISTOGRAM_COLUMNS))
    + ") AS points"
)


async def _numbers(session: AsyncSession, signals: list[int], after: datetime, until: datetime) -> bytes:
    connection = await driver(session)
    data = io.BytesIO()
    await connection.copy_from_query(
        _NUMBERS, signals, after, until, after - LOOKBACK, MAX_POINTS, output=data, format="binary"
    )
    return data.getvalue()


async def _histograms(session: AsyncSession, signals: list[int], after: datetime, until: datetime) -> list[Point]:
    connection = await driver(session)
    found: list[Point] = []
    layouts: dict[int, Layout] = {}
    # Some signals at a time: decoding a hundred thousand arrays in one go would hold the event loop. Few senders
    # export more often than every second.
    expected = 1 + int((until - after).total_seconds())
    at_once = max(1, _ARRAYS_AT_ONCE // expected)
    for place in range(0, len(signals), at_once):
        part = signals[place : place + at_once]
        rows = await connection.fetch(_HISTOGRAMS, part, after, until, after - LOOKBACK, MAX_HISTOGRAMS)
        missing = {row[3] for row in rows} - layouts.keys()
        if missing:
            layouts |= await _layouts(connection, list(missing))
        found += [_point(row, layouts) for row in rows]
        if len(found) >= MAX_HISTOGRAMS:
            raise Invalid(f"the range holds more than {MAX_HISTOGRAMS} histograms: ask for a shorter one")
    return found


async def _layouts(connection: Any, ids: list[int]) -> dict[int, Layout]:
    rows = await connection.fetch(
        "SELECT id, bounds, scale, zero_threshold FROM bucket_layouts WHERE id = ANY($1::int[])", ids
    )
    return {row[0]: Layout(tuple(row[1]), row[2], row[3]) for row in rows}


def _point(row: Any, layouts: dict[int, Layout]) -> Point:
    return Point(
        signal=row[0],
        start=row[1],
        time=row[2],
        layout=layouts[row[3]],
        count=row[4],
        sum=row[5],
        counts=tuple(row[6]),
        offset=row[7],
        zero_count=row[8],
        negative_offset=row[9],
        negative_counts=tuple(row[10]),
    )


_DETECTIONS = text(
    "SELECT date_bin(step, ts - interval '1 microsecond', timestamptz 'epoch') + step AS time, avg(value) AS value,"
    " avg(expected) AS expected, min(lower) AS lower, max(upper) AS upper, max(score) AS score"
    " FROM detections, (SELECT CAST(:step AS bigint) * interval '1 microsecond' AS step) AS asked"
    " WHERE signal = :signal AND ts > :after AND ts <= :until GROUP BY 1 ORDER BY 1"
)


async def detections(session: AsyncSession, number: int, grid: Grid) -> Sequence[Row[Any]]:
    """What the detector said in each slice. A slice that holds several of its points keeps what matters of them: the
    mean value, the whole band, the worst score."""
    rows = await session.execute(
        _DETECTIONS,
        {"step": grid.step, "signal": number, "after": moment(grid.start), "until": moment(int(grid.ends[-1]))},
    )
    return rows.all()
