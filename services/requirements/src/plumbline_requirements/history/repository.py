"""The SQL of history: all by the primary key of revisions."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_requirements.models import Revision


async def page(session: AsyncSession, id: UUID, skip: int, limit: int) -> tuple[Sequence[Revision], int]:
    """The revisions of a requirement, the newest first, and how many there are. Their documents are not read."""
    mine = Revision.requirement_id == id
    total = await session.scalar(select(func.count()).select_from(Revision).where(mine))
    columns = (Revision.revision, Revision.status, Revision.actor, Revision.reason, Revision.at, Revision.changed)
    rows = await session.execute(
        select(*columns).where(mine).order_by(Revision.revision.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0  # type: ignore[return-value]


async def document(session: AsyncSession, id: UUID, revision: int) -> str | None:
    """The snapshot as JSON; None where there is no such revision, empty for that of a deletion."""
    return await session.scalar(
        select(Revision.document).where(Revision.requirement_id == id, Revision.revision == revision)
    )
