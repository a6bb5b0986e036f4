"""The SQL of telemetry: signals, layouts, and points by COPY."""

import io
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
from asyncpg.exceptions import CheckViolationError, UniqueViolationError
from sqlalchemy import ARRAY, LargeBinary, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import BucketLayout, Signal
from plumbline_analysis.points import copy_format
from plumbline_analysis.points.resolution import HistogramRows, Int64, NumberRows, Series
from plumbline_analysis.sources.batch import Layout
from plumbline_analysis.threads import sized
from plumbline_common import db
from plumbline_common.errors import Unavailable

_TRIES = 5
_SIGNALS_AT_ONCE = 1_000
"""However many series are new, neither a statement nor the event loop is held for long."""


# --- Signals --------------------------------------------------------------------------------------------


async def signals(session: AsyncSession, identities: Sequence[bytes]) -> dict[bytes, int]:
    """The numbers of those that exist, by identity."""
    found: dict[bytes, int] = {}
    for place in range(0, len(identities), _SIGNALS_AT_ONCE):
        part = bindparam("identities", list(identities[place : place + _SIGNALS_AT_ONCE]), ARRAY(LargeBinary))
        rows = await session.execute(select(Signal.identity, Signal.number).where(Signal.identity == part.any_()))
        found |= {bytes(row.identity): row.number for row in rows}
    return found


_ADD_SIGNALS = text(
    "INSERT INTO signals (id, identity, source, metric, unit, kind, temporality, monotonic, scope, service,"
    " resource, attributes)"
    " SELECT (s->>'id')::uuid, decode(s->>'identity', 'hex'), s->>'source', s->>'metric', s->>'unit', s->>'kind',"
    " s->>'temporality', (s->>'monotonic')::boolean, s->>'scope', s->>'service', s->'resource', s->'attributes'"
    " FROM jsonb_array_elements(:signals) AS s"
    " ORDER BY s->>'identity' ON CONFLICT (identity) DO NOTHING RETURNING identity, number"
).bindparams(bindparam("signals", type_=JSONB))


async def add_signals(session: AsyncSession, series: Sequence[Series]) -> dict[bytes, int]:
    """Insert new signals; those that another transaction inserted meanwhile are left out of the answer."""
    # All transactions take the one order, so that no two wait for each other in turn.
    ordered = sorted(series, key=lambda each: each.identity)
    found: dict[bytes, int] = {}
    for place in range(0, len(ordered), _SIGNALS_AT_ONCE):
        rows = [_row(each) for each in ordered[place : place + _SIGNALS_AT_ONCE]]
        added = await session.execute(_ADD_SIGNALS, {"signals": rows})
        found |= {bytes(row.identity): row.number for row in added}
    return found


def _row(each: Series) -> dict[str, Any]:
    resource = dict(each.head.resource)
    return {
        "id": str(db.new_id()),
        "identity": each.identity.hex(),
        "source": each.head.source,
        "metric": each.head.metric,
        "unit": each.head.unit,
        "kind": each.head.kind,
        "temporality": each.head.temporality,
        "monotonic": each.head.monotonic,
        "scope": each.head.scope,
        "service": each.service or None,
        "resource": resource,
        "attributes": resource | each.attributes,
    }


_COUNTS = text(
    "SELECT coalesce(service, '') AS service, metric, count(*) AS series FROM signals WHERE kind <> 'indicator'"
    " AND (service = ANY(:services) OR (:unnamed AND service IS NULL)) GROUP BY 1, 2"
).bindparams(bindparam("services", type_=ARRAY(Text)))


async def series_counts(session: AsyncSession, services: Collection[str]) -> dict[str, dict[str, int]]:
    """How many series each metric of these services has; "" are those without a service."""
    found: dict[str, dict[str, int]] = {}
    rows = await session.execute(_COUNTS, {"services": list(services), "unnamed": "" in services})
    for row in rows:
        found.setdefault(row.service, {})[row.metric] = row.series
    return found


# One step down the index for each service, not one for each series.
_SERVICES = text(
    "WITH RECURSIVE named AS ((SELECT min(service) AS service FROM signals) UNION ALL"
    " SELECT (SELECT min(service) FROM signals WHERE signals.service > named.service) FROM named"
    " WHERE named.service IS NOT NULL) SELECT count(service) FROM named"
)


async def count_services(session: AsyncSession) -> int:
    return int((await session.execute(_SERVICES)).scalar_one())


def _layout_identity(layout: Layout) -> bytes:
    whole = [layout.bounds, layout.scale, layout.zero_threshold]
    return blake2b(orjson.dumps(whole), digest_size=16).digest()


async def layouts(session: AsyncSession, wanted: Collection[Layout]) -> tuple[dict[Layout, int], set[Layout]]:
    """The ids of bucket layouts, made where they are missing, and which of them were there before."""
    by_identity = {_layout_identity(layout): layout for layout in wanted}
    query = select(BucketLayout.identity, BucketLayout.id).where(BucketLayout.identity.in_(list(by_identity)))
    found = {by_identity[bytes(row.identity)]: row.id for row in await session.execute(query)}
    there = set(found)
    missing = sorted(identity for identity, layout in by_identity.items() if layout not in found)
    if missing:
        rows = [
            {
                "identity": identity,
                "bounds": list(by_identity[identity].bounds),
                "scale": by_identity[identity].scale,
                "zero_threshold": by_identity[identity].zero_threshold,
            }
            for identity in missing
        ]
        await session.execute(insert(BucketLayout).on_conflict_do_nothing(), rows)
        found |= {by_identity[bytes(row.identity)]: row.id for row in await session.execute(query)}
    return found, there


# --- Points ---------------------------------------------------------------------------------------------


async def copy_numbers(session: AsyncSession, rows: NumberRows) -> None:
    """Store number points in the caller's transaction; those that are there already change nothing."""

    def data(kept: Int64) -> bytes:
        return copy_format.numbers(rows.signal[kept], rows.time[kept], rows.start[kept], rows.value[kept])

    await _copy(session, "number_points", copy_format.NUMBER_COLUMNS, rows.signal, rows.time, data)


async def copy_histograms(session: AsyncSession, rows: HistogramRows, layouts: dict[Layout, int]) -> None:
    """As `copy_numbers`, of histograms."""
    ids = np.array([layouts[layout] for layout in rows.layouts], np.int64)[rows.layout]

    def data(kept: Int64) -> bytes:
        chosen = [rows.points[index] for index in kept.tolist()]
        return copy_format.histograms(rows.signal[kept], rows.time[kept], rows.start[kept], ids[kept], chosen)

    await _copy(session, "histogram_points", copy_format.HISTOGRAM_COLUMNS, rows.signal, rows.time, data)


async def _copy(
    session: AsyncSession, table: str, columns: Sequence[str], signal: Int64, time: Int64, data: Any
) -> None:
    # COPY into the table itself costs half of COPY into a staging table and INSERT … ON CONFLICT. It fails where a
    # point is there already, which is rare (a retry): only then are the doubles looked up and left out.
    kept = np.arange(len(signal))
    connection = await db.driver(session)
    for attempt in range(_TRIES):
        try:
            source = io.BytesIO(await sized(len(kept), data, kept))
            async with connection.transaction():  # a savepoint
                await connection.copy_to_table(table, source=source, columns=columns, format="binary")
        except UniqueViolationError:
            if attempt == _TRIES - 1:
                raise Unavailable("other requests keep storing the same points; try again") from None
            there = await _stored(connection, table, signal[kept], time[kept])
            kept = await sized(len(kept), _without, kept, signal, time, there)
            if not kept.size:
                return
        except CheckViolationError:
            raise Unavailable("the tables for the days of these points are not there yet; try again") from None
        else:
            return


def _without(kept: Int64, signal: Int64, time: Int64, there: set[tuple[int, int]]) -> Int64:
    pairs = zip(signal[kept].tolist(), time[kept].tolist(), strict=True)
    return kept[[pair not in there for pair in pairs]]


async def _stored(connection: Any, table: str, signal: Int64, time: Int64) -> set[tuple[int, int]]:
    """Which (signal, microseconds) are there already."""
    rows = await connection.fetch(
        "SELECT p.signal, (extract(epoch FROM p.ts) * 1000000)::bigint"  # noqa: S608 (one of two constants)
        " FROM unnest($1::bigint[], $2::bigint[]) AS wanted (signal, ts)"
        f" JOIN {table} p ON p.signal = wanted.signal"
        " AND p.ts = timestamptz 'epoch' + wanted.ts * interval '1 microsecond'",
        signal.tolist(),
        time.tolist(),
    )
    return {(row[0], row[1]) for row in rows}
