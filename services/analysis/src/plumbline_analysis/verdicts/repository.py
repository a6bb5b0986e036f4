"""The SQL of verdicts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import CurrentVerdict, VerdictRecord, WatchedRequirement
from plumbline_common import db
from plumbline_common.schemas import Verdict, VerdictState


async def page(
    session: AsyncSession, requirement_id: UUID | None, state: VerdictState | None, skip: int, limit: int
) -> tuple[Sequence[Row[CurrentVerdict, str, str, int]], int]:
    """The current verdicts, the latest change first, with their requirements, and how many there are in all."""
    wanted = []
    if requirement_id is not None:
        wanted.append(CurrentVerdict.requirement_id == requirement_id)
    if state is not None:
        wanted.append(CurrentVerdict.state == state)
    total = (await session.execute(select(func.count()).select_from(CurrentVerdict).where(*wanted))).scalar_one()
    rows = await session.execute(
        select(CurrentVerdict, WatchedRequirement.key, WatchedRequirement.title, WatchedRequirement.revision)
        .join(WatchedRequirement, WatchedRequirement.id == CurrentVerdict.requirement_id)
        .where(*wanted)
        .order_by(CurrentVerdict.changed_at.desc(), CurrentVerdict.requirement_id)
        .offset(skip)
        .limit(limit)
    )
    return rows.all(), total


async def current(session: AsyncSession, requirements: Sequence[UUID]) -> dict[UUID, CurrentVerdict]:
    """The latest verdict of each requirement that has one."""
    rows = await db.detached(session, CurrentVerdict, "WHERE requirement_id = ANY($1::uuid[])", requirements)
    return {row.requirement_id: row for row in rows}


_SAVE = (
    "INSERT INTO current_verdicts (requirement_id, revision, state, changed_at, evaluated_at, verdict)"
    " SELECT requirement_id, revision, state, changed_at, evaluated_at, verdict::jsonb"
    " FROM unnest($1::uuid[], $2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[])"
    "  AS saved (requirement_id, revision, state, changed_at, evaluated_at, verdict)"
    " ON CONFLICT (requirement_id) DO UPDATE SET revision = excluded.revision, state = excluded.state,"
    "  changed_at = excluded.changed_at, evaluated_at = excluded.evaluated_at, verdict = excluded.verdict"
)


async def save(session: AsyncSession, verdicts: Sequence[tuple[Verdict, datetime, datetime]]) -> None:
    """Each verdict, since when it stands, and when it was concluded."""
    rows = [
        (
            verdict.requirement_id,
            verdict.revision,
            verdict.state,
            changed_at,
            evaluated_at,
            verdict.model_dump_json(),
        )
        for verdict, changed_at, evaluated_at in verdicts
    ]
    if rows:
        await db.fetch(session, _SAVE, *zip(*rows, strict=True))


async def record(session: AsyncSession, verdict: Verdict, changed_at: datetime) -> None:
    """Keep a change with its evidence."""
    session.add(
        VerdictRecord(
            id=db.new_id(),
            requirement_id=verdict.requirement_id,
            revision=verdict.revision,
            state=verdict.state,
            changed_at=changed_at,
            verdict=verdict.model_dump(mode="json"),
        )
    )
    await session.flush()


async def forget(session: AsyncSession, requirement_id: UUID) -> None:
    """A requirement that is not in force has no current verdict."""
    await session.execute(delete(CurrentVerdict).where(CurrentVerdict.requirement_id == requirement_id))
