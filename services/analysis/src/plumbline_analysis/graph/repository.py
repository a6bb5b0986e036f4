"""The SQL of the service graph."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.graph.rules import CLIENT_METRICS, SERVICE_GRAPH_METRICS, Edge
from plumbline_analysis.models import ServiceEdge

MOST_EDGES = 10_000
"""So many calls are known: further ones are left out until old ones are forgotten."""
MOST_SERIES = 5_000
"""So many series that tell of calls are looked at."""

_ADD = text(
    "INSERT INTO service_edges (caller, callee, count, first_seen, last_seen)"
    " SELECT seen.caller, seen.callee, seen.count, :at, :at"
    "  FROM unnest(:callers, :callees, :counts) WITH ORDINALITY AS seen (caller, callee, count, place)"
    "  LEFT JOIN service_edges AS known USING (caller, callee)"
    "  WHERE known.caller IS NOT NULL OR (SELECT count(*) FROM service_edges) + place <= :most"
    # One order, so that no two processes wait for each other in turn.
    "  ORDER BY seen.caller, seen.callee"
    " ON CONFLICT (caller, callee) DO UPDATE SET count = service_edges.count + excluded.count,"
    "  last_seen = greatest(service_edges.last_seen, excluded.last_seen)"
).bindparams(
    bindparam("callers", type_=ARRAY(Text)),
    bindparam("callees", type_=ARRAY(Text)),
    bindparam("counts", type_=ARRAY(BigInteger)),
)


async def add(session: AsyncSession, counts: Mapping[Edge, int], at: datetime) -> None:
    """Count calls that were seen at `at`."""
    seen = sorted(counts)
    await session.execute(
        _ADD,
        {
            "callers": [each.caller for each in seen],
            "callees": [each.callee for each in seen],
            "counts": [counts[each] for each in seen],
            "at": at,
            "most": MOST_EDGES,
        },
    )


async def edges(session: AsyncSession) -> list[Edge]:
    rows = await session.execute(select(ServiceEdge.caller, ServiceEdge.callee))
    return [Edge(*row) for row in rows]


async def rows(session: AsyncSession, service: str | None) -> Sequence[ServiceEdge]:
    """All edges, or those of one service, by name."""
    wanted = [] if service is None else [or_(ServiceEdge.caller == service, ServiceEdge.callee == service)]
    found = await session.scalars(select(ServiceEdge).where(*wanted).order_by(ServiceEdge.caller, ServiceEdge.callee))
    return found.all()


async def newest(session: AsyncSession) -> datetime | None:
    """When the latest edge was first seen."""
    return (await session.execute(select(func.max(ServiceEdge.first_seen)))).scalar_one()


async def forget(session: AsyncSession, before: datetime) -> None:
    """Forget the calls that were not seen since then."""
    await session.execute(delete(ServiceEdge).where(ServiceEdge.last_seen < before))


_TELLING = text(
    "SELECT metric, service, attributes FROM signals WHERE metric = ANY(:metrics) AND kind <> 'indicator'"
    " AND EXISTS ("
    "  SELECT FROM number_points WHERE signal = number AND ts > :since"
    "  UNION ALL SELECT FROM histogram_points WHERE signal = number AND ts > :since)"
    " ORDER BY number DESC LIMIT :most"
)


async def telling(session: AsyncSession, since: datetime) -> list[tuple[str, str | None, dict[str, str]]]:
    """Metric, service and attributes of the series that tell of calls and had a point since then."""
    metrics = [*SERVICE_GRAPH_METRICS, *CLIENT_METRICS]
    found = await session.execute(_TELLING, {"metrics": metrics, "since": since, "most": MOST_SERIES})
    return [(row.metric, row.service, row.attributes) for row in found]


_SENDING = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS asked (name)"
    " WHERE EXISTS (SELECT FROM signals WHERE service = name)"
    "  OR EXISTS (SELECT FROM log_streams WHERE service = name)"
)


async def sending(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Those of the names that services have which send telemetry."""
    return set(await session.scalars(_SENDING, {"names": sorted(names)}))
