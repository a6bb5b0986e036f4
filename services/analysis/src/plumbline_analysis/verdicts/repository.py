"""The SQL of verdicts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert
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


async def current(session: AsyncSession, requirements: Collection[UUID]) -> dict[UUID, CurrentVerdict]:
    """The latest verdict of each requirement that has one."""
    rows = await session.scalars(select(CurrentVerdict).where(CurrentVerdict.requirement_id.in_(requirements)))
    return {row.requirement_id: row for row in rows}


_INSERT = insert(CurrentVerdict)
_SAVE = _INSERT.on_conflict_do_update(
    index_elements=["requirement_id"],
    set_={name: _INSERT.excluded[name] for name in ("revision", "state", "changed_at", "evaluated_at", "verdict")},
)


async def save(session: AsyncSession, verdicts: Sequence[tuple[Verdict, datetime, datetime]]) -> None:
    """Each verdict, since when it stands, and when it was concluded."""
    rows = [
        {
            "requirement_id": verdict.requirement_id,
            "revision": verdict.revision,
            "state": verdict.state,
            "changed_at": changed_at,
            "evaluated_at": evaluated_at,
            "verdict": verdict.model_dump(mode="json"),
        }
        for verdict, changed_at, evaluated_at in verdicts
    ]
    if rows:
        await session.execute(_SAVE, rows)


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
