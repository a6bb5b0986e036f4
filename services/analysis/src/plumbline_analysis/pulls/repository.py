"""The SQL of sources: what they are, who pulls them, and how far each query is."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import PullMark, PullSource
from plumbline_analysis.pulls.rules import Mark, Range


async def find(session: AsyncSession, id: UUID) -> PullSource | None:
    return await session.get(PullSource, id)


async def locked(session: AsyncSession, id: UUID) -> PullSource | None:
    """Held until the transaction ends."""
    return await session.get(PullSource, id, with_for_update=True, populate_existing=True)


async def page(session: AsyncSession, name: str | None, skip: int, limit: int) -> tuple[Sequence[PullSource], int]:
    """By name, and how many there are in all."""
    wanted = [] if name is None else [PullSource.name == name]
    total = await session.scalar(select(func.count()).select_from(PullSource).where(*wanted))
    rows = await session.scalars(
        select(PullSource).where(*wanted).order_by(PullSource.name).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(PullSource)) or 0


async def add(session: AsyncSession, **members: Any) -> PullSource | None:
    """A new source; None where one has its name."""
    statement = insert(PullSource).values(**members).on_conflict_do_nothing().returning(PullSource)
    return (await session.scalars(statement)).one_or_none()


async def remove(session: AsyncSession, source: PullSource) -> None:
    await session.execute(delete(PullMark).where(PullMark.source_id == source.id))
    await session.delete(source)
    await session.flush()


# --- Marks ----------------------------------------------------------------------------------------------


async def marks(session: AsyncSession, source_ids: Collection[UUID]) -> dict[UUID, dict[str, Mark]]:
    """By source and query."""
    found: dict[UUID, dict[str, Mark]] = {id: {} for id in source_ids}
    for row in await session.scalars(select(PullMark).where(PullMark.source_id.in_(source_ids))):
        found[row.source_id][row.query] = Mark(row.begins, row.reached, tuple(Range(*gap) for gap in row.gaps))
    return found


async def keep_marks(session: AsyncSession, source_id: UUID, marks: dict[str, Mark]) -> None:
    rows = [
        {
            "source_id": source_id,
            "query": query,
            "begins": mark.begins,
            "reached": mark.reached,
            "gaps": [list(gap) for gap in mark.gaps],
        }
        for query, mark in marks.items()
    ]
    statement = insert(PullMark).values(rows)
    changed = {name: statement.excluded[name] for name in ("begins", "reached", "gaps")}
    await session.execute(statement.on_conflict_do_update(index_elements=["source_id", "query"], set_=changed))


async def forget_marks(session: AsyncSession, source_id: UUID, kept: Collection[str]) -> None:
    """Those of all other queries."""
    await session.execute(delete(PullMark).where(PullMark.source_id == source_id, PullMark.query.not_in(kept)))


# --- Who pulls ------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """The right to pull a source, as it was configured with `revision`."""

    source_id: UUID
    token: int
    revision: int


# A lease that ends later than any can was written before the database's clock stepped back: it ends now. A source
# whose points are being stored is locked; its lease is kept the next time.
_CLAIM = text(
    "UPDATE pull_sources SET holder = :holder, until = clock_timestamp() + make_interval(secs => :seconds),"
    "  token = token + (holder IS DISTINCT FROM :holder)::int"
    " WHERE id IN (SELECT id FROM pull_sources WHERE enabled AND (holder IS NULL OR holder = :holder"
    "  OR until < clock_timestamp() OR until > clock_timestamp() + make_interval(secs => :seconds))"
    "  FOR UPDATE SKIP LOCKED)"
)
_HELD = text("SELECT id, token, revision FROM pull_sources WHERE enabled AND holder = :holder")
_RELEASE = text("UPDATE pull_sources SET until = NULL, holder = NULL WHERE holder = :holder")


async def claim(session: AsyncSession, holder: UUID, seconds: float) -> list[Claim]:
    """Take or keep each source that no other process holds, for so long."""
    await session.execute(_CLAIM, {"holder": holder, "seconds": seconds})
    rows = await session.execute(_HELD, {"holder": holder})
    return [Claim(row.id, row.token, row.revision) for row in rows]


async def release(session: AsyncSession, holder: UUID) -> None:
    """Let other processes go on at once."""
    await session.execute(_RELEASE, {"holder": holder})


async def claimed(session: AsyncSession, claim: Claim) -> PullSource | None:
    """The source, held until the transaction ends; None where the right has passed, or it was changed or deleted."""
    rows = await session.scalars(
        select(PullSource)
        .where(
            PullSource.id == claim.source_id,
            PullSource.token == claim.token,
            PullSource.revision == claim.revision,
            PullSource.enabled,
            PullSource.holder.is_not(None),
        )
        .with_for_update()
    )
    return rows.one_or_none()


async def count_points(session: AsyncSession, source_id: UUID, points: int) -> None:
    await session.execute(
        update(PullSource).where(PullSource.id == source_id).values(points=PullSource.points + points)
    )
