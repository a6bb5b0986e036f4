"""The SQL of log lines: streams, and lines by COPY."""

import io
from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg.exceptions import CheckViolationError
from sqlalchemy import ARRAY, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.lines import copy_rows
from plumbline_analysis.models import LogExport, LogStream
from plumbline_analysis.sources.lines import Line
from plumbline_analysis.threads import sized
from plumbline_common import db
from plumbline_common.errors import Unavailable

_ADVANCE = text(
    "INSERT INTO log_streams (service, lines) VALUES (:service, :count)"
    " ON CONFLICT (service) DO UPDATE SET lines = log_streams.lines + excluded.lines RETURNING number, lines"
)


async def first_time(session: AsyncSession, digest: bytes) -> bool:
    """Whether no request of this digest was stored; waits for one that is being stored."""
    added = await session.execute(
        insert(LogExport).values(digest=digest).on_conflict_do_nothing().returning(LogExport.digest)
    )
    return added.first() is not None


async def forget_exports(session: AsyncSession, before: datetime) -> None:
    await session.execute(delete(LogExport).where(LogExport.received_at < before))


async def known_services(session: AsyncSession, services: Sequence[str]) -> set[str]:
    # One array, for a statement takes only so many parameters.
    wanted = bindparam("services", list(services), ARRAY(Text))
    return set(await session.scalars(select(LogStream.service).where(LogStream.service == wanted.any_())))


async def count_streams(session: AsyncSession) -> int:
    return (await session.execute(select(func.count()).select_from(LogStream))).scalar_one()


async def copy(session: AsyncSession, by_service: Mapping[str, Sequence[Line]]) -> None:
    """Store lines under the next positions of their streams, which stay locked until the transaction ends: so whoever
    reads a position has read all before it."""
    streams = []
    for service in sorted(by_service):  # one order, so that no two transactions wait for each other in turn
        lines = by_service[service]
        row = (await session.execute(_ADVANCE, {"service": service, "count": len(lines)})).one()
        streams.append((row.number, row.lines - len(lines), lines))
    data = await sized(sum(map(len, by_service.values())), copy_rows.rows, streams)
    try:
        connection = await db.driver(session)
        await connection.copy_to_table(
            "log_lines", source=io.BytesIO(data), columns=copy_rows.COLUMNS, format="binary"
        )
    except CheckViolationError:
        raise Unavailable("the tables for the days of these lines are not there yet; try again") from None
