"""The SQL of signals."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection import alarm
from plumbline_analysis.models import Signal
from plumbline_analysis.points import reading
from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common import db
from plumbline_common.errors import NotFound


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


_MATCHING = (
    "SELECT asked.place, number, unit, kind, temporality, monotonic"
    " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (metric, attributes, place)"
    " JOIN signals ON signals.metric = asked.metric AND kind <> 'indicator'"
    "  AND signals.attributes @> asked.attributes::jsonb ORDER BY number"
)


async def matching(
    session: AsyncSession, asked: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[SignalInfo]]:
    """For each metric and attributes (a JSON object), the signals whose attributes hold all of these."""
    places = list(asked)
    found: dict[tuple[str, str], list[SignalInfo]] = {each: [] for each in places}
    if places:
        for place, number, unit, kind, temporality, monotonic in await db.fetch(
            session, _MATCHING, *zip(*places, strict=True)
        ):
            signal = SignalInfo(number, unit, Kind(kind), Temporality(temporality), monotonic)
            found[places[place - 1]].append(signal)
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
        signal = reading.info(row)
        found.setdefault(row.metric, []).append(signal)
    if len(rows) > most:
        del found[rows[-1].metric]
    return found


BAR_OF_SIGNAL = (
    "coalesce((SELECT bar FROM detector_revisions WHERE signal = signals.number"  # noqa: S608 (a constant)
    " ORDER BY revision DESC LIMIT 1),"
    f" {alarm.Config().bar!r}::float)"
)
"""The score at which the detector of a signal alarms, as SQL where `signals` is selected from."""


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
    return [reading.info(row) for row in rows]
