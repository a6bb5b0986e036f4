"""The SQL of log templates, and of how far streams of logs were mined."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, bindparam, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import LogLine, LogStream, LogTemplate, LogWatch
from plumbline_analysis.moments import moment
from plumbline_analysis.templates.mining import Mined, Seen
from plumbline_analysis.templates.schemas import LogTemplateSort
from plumbline_common import db
from plumbline_common.errors import NotFound

_TOLD_AT_ONCE = 100

# --- Reading ------------------------------------------------------------------------------------------------


async def one(session: AsyncSession, id: UUID) -> LogTemplate:
    """The template, or the one that it is part of now. Raises `NotFound`."""
    wanted: UUID | None = id
    while wanted is not None:
        found = (await session.execute(select(LogTemplate).where(LogTemplate.id == wanted))).scalar_one_or_none()
        if found is None:
            break
        if found.merged_into is None:
            return found
        wanted = found.merged_into
    raise NotFound(f"no log template has the id {id}")


async def page(
    session: AsyncSession, service: str | None, part: str | None, sort: LogTemplateSort, skip: int, limit: int
) -> tuple[Sequence[LogTemplate], int]:
    """One page, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = [LogTemplate.merged_into.is_(None)]
    if service is not None:
        wanted.append(LogTemplate.service == service)
    if part is not None:
        wanted.append(LogTemplate.template.icontains(part, autoescape=True))
    column = getattr(LogTemplate, sort.removeprefix("-"))
    order = (column.desc(), LogTemplate.id.desc()) if sort.startswith("-") else (column, LogTemplate.id)
    total = (await session.execute(select(func.count()).select_from(LogTemplate).where(*wanted))).scalar_one()
    rows = await session.execute(select(LogTemplate).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.scalars().all(), total


# --- What is to be mined ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pending:
    """A stream with lines that were not mined, or intervals that were not judged. `lines`: its newest position."""

    stream: int
    service: str
    lines: int
    position: int
    first_seen: datetime


async def pending(session: AsyncSession) -> list[Pending]:
    rows = await session.execute(
        select(LogStream, LogWatch.position)
        .join_from(LogStream, LogWatch, LogWatch.stream == LogStream.number, isouter=True)
        .where((LogWatch.stream.is_(None)) | (LogStream.lines > LogWatch.position) | ~LogWatch.asleep)
        .order_by(LogStream.number)
    )
    return [
        Pending(stream.number, stream.service, stream.lines, position or 0, stream.first_seen)
        for stream, position in rows
    ]


async def abandoned(session: AsyncSession, before: datetime) -> list[Pending]:
    """The streams without a line since then."""
    rows = await session.execute(
        select(LogStream, LogWatch.position)
        .join_from(LogStream, LogWatch, LogWatch.stream == LogStream.number)
        .where(LogWatch.asleep, LogStream.lines == LogWatch.position)
        .where(~exists().where(LogTemplate.stream == LogStream.number, LogTemplate.last_seen >= before))
    )
    return [
        Pending(stream.number, stream.service, stream.lines, position, stream.first_seen) for stream, position in rows
    ]


async def watch(session: AsyncSession, stream: int) -> LogWatch | None:
    return (await session.execute(select(LogWatch).where(LogWatch.stream == stream))).scalar_one_or_none()


async def known(session: AsyncSession, stream: int) -> dict[int, UUID]:
    """The templates of a stream by the miner's ids."""
    rows = await session.execute(
        select(LogTemplate.number, LogTemplate.id).where(
            LogTemplate.stream == stream, LogTemplate.merged_into.is_(None)
        )
    )
    return {row.number: row.id for row in rows}


async def lines_after(
    session: AsyncSession, stream: int, position: int, most: int
) -> Sequence[Row[int, datetime, str]]:
    """Position, time and body of the next lines, at most so many."""
    rows = await session.execute(
        select(LogLine.position, LogLine.ts, LogLine.body)
        .where(LogLine.stream == stream, LogLine.position > position)
        .order_by(LogLine.position)
        .limit(most)
    )
    return rows.all()


# --- What was mined -----------------------------------------------------------------------------------------


async def save_watch(session: AsyncSession, stream: int, position: int, mined: Mined) -> None:
    miner, watch, pending = mined.state
    values = {"position": position, "asleep": mined.asleep, "miner": miner, "watch": watch, "pending": pending}
    await session.execute(
        insert(LogWatch).values(stream=stream, **values).on_conflict_do_update(index_elements=["stream"], set_=values)
    )


async def drop_stream(session: AsyncSession, pending: Pending) -> bool:
    """Delete a stream and its state, unless lines have come meanwhile. Whether it is gone."""
    gone = await session.execute(
        delete(LogStream)
        .where(LogStream.number == pending.stream, LogStream.lines == pending.lines)
        .returning(LogStream.number)
    )
    if gone.first() is None:
        return False
    await session.execute(delete(LogWatch).where(LogWatch.stream == pending.stream))
    return True


_SAVE = text(
    "INSERT INTO log_templates (id, stream, number, service, template, count, first_seen, last_seen, examples,"
    " revision, told_count, news)"
    " SELECT id, :stream, number, :service, template, count, first_seen, last_seen, examples, 0, 0, true"
    " FROM jsonb_to_recordset(:templates) AS t (id uuid, number bigint, template text, count bigint,"
    "  first_seen timestamptz, last_seen timestamptz, examples jsonb)"
    " ON CONFLICT (stream, number) DO UPDATE SET template = excluded.template, count = excluded.count,"
    "  first_seen = LEAST(log_templates.first_seen, excluded.first_seen),"
    "  last_seen = GREATEST(log_templates.last_seen, excluded.last_seen), examples = excluded.examples,"
    "  news = log_templates.news OR log_templates.template <> excluded.template"
    "   OR excluded.count >= 10 * log_templates.told_count"
    " RETURNING number, id"
).bindparams(bindparam("templates", type_=JSONB))


async def save(session: AsyncSession, stream: int, service: str, seen: Sequence[Seen]) -> dict[int, UUID]:
    """Store templates that came. Their ids by the miner's."""
    rows = [
        {
            "id": str(db.new_id()),
            "number": each.template.id,
            "template": each.template.text,
            "count": each.template.count,
            "first_seen": moment(each.first).isoformat(),
            "last_seen": moment(each.last).isoformat(),
            "examples": each.template.examples,
        }
        for each in seen
    ]
    saved = await session.execute(_SAVE, {"stream": stream, "service": service, "templates": rows})
    return {row.number: row.id for row in saved}


_MERGE = text(
    "WITH merged AS ("
    "  UPDATE log_templates part SET merged_into = whole.id, news = false, revision = part.revision + 1"
    "  FROM jsonb_to_recordset(:gone) AS g (number bigint, whole bigint) JOIN log_templates whole"
    "   ON whole.stream = :stream AND whole.number = g.whole"
    "  WHERE part.stream = :stream AND part.number = g.number"
    "  RETURNING part.id, part.revision, part.first_seen, whole.id AS whole"
    " ), earlier AS ("
    "  UPDATE log_templates whole SET first_seen = LEAST(whole.first_seen, m.first_seen)"
    "  FROM (SELECT whole, min(first_seen) AS first_seen FROM merged GROUP BY whole) m WHERE whole.id = m.whole"
    " ) SELECT id, revision, whole FROM merged"
).bindparams(bindparam("gone", type_=JSONB))


async def merge(session: AsyncSession, stream: int, gone: dict[int, int]) -> Sequence[Row[Any]]:
    """Note which template each of these is part of now: id, revision and the other's id."""
    rows = [{"number": number, "whole": whole} for number, whole in gone.items()]
    return (await session.execute(_MERGE, {"stream": stream, "gone": rows})).all()


async def drop(session: AsyncSession, stream: int, numbers: Collection[int] | None = None) -> dict[UUID, int]:
    """Delete templates of a stream, all of them where no numbers are given: the revisions of those not merged."""
    wanted = [LogTemplate.stream == stream]
    if numbers is not None:
        wanted.append(LogTemplate.number.in_(numbers))
    rows = await session.execute(
        delete(LogTemplate).where(*wanted).returning(LogTemplate.id, LogTemplate.revision, LogTemplate.merged_into)
    )
    return {row.id: row.revision for row in rows if row.merged_into is None}


async def news(session: AsyncSession, stream: int) -> Sequence[LogTemplate]:
    """Templates that are to be told of, those with the most lines first; they count as told now."""
    rows = await session.execute(
        select(LogTemplate)
        .where(LogTemplate.stream == stream, LogTemplate.news)
        .order_by(LogTemplate.count.desc(), LogTemplate.id)
        .limit(_TOLD_AT_ONCE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found = rows.scalars().all()
    for template in found:
        template.revision += 1
        template.told_count = template.count
        template.news = False
    await session.flush()
    return found


async def forget_merged(session: AsyncSession, before: datetime) -> None:
    """Drop the notes of which template became which."""
    await session.execute(
        delete(LogTemplate).where(LogTemplate.merged_into.is_not(None), LogTemplate.last_seen < before)
    )
