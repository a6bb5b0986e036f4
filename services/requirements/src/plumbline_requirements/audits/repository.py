"""The SQL of the audit log."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_requirements.models import Base

_ENTRIES = Base.metadata.tables["audit_entries"]


async def page(
    session: AsyncSession, filters: Mapping[str, Any], skip: int, limit: int
) -> tuple[Sequence[RowMapping], int]:
    """Entries that match, the newest first, and how many there are."""
    columns = _ENTRIES.c
    wanted = [columns[name] == filters[name] for name in ("entity_id", "actor", "action") if name in filters]
    if "after" in filters:
        wanted.append(columns.at >= filters["after"])
    if "before" in filters:
        wanted.append(columns.at < filters["before"])
    total = await session.scalar(select(func.count()).select_from(_ENTRIES).where(*wanted))
    rows = await session.execute(
        select(columns.position, columns.entry).where(*wanted).order_by(columns.seq.desc()).offset(skip).limit(limit)
    )
    return rows.mappings().all(), total or 0


# Sealed entries in the order of the chain, then those that are not sealed yet. A revision's document goes with the
# entry that told of it, so that a changed byte in either is found.
_EXPORT = text(
    "SELECT page.*, revisions.document FROM ("
    " SELECT seq, position, entry, digest, hash FROM audit_entries WHERE position > :position"
    "  ORDER BY position LIMIT :limit) AS page"
    " LEFT JOIN LATERAL (SELECT document FROM requirement_revisions"
    "  WHERE page.entry::jsonb ->> 'document' IS NOT NULL"
    "  AND requirement_id = CASE WHEN page.entry::jsonb ->> 'entity' = 'requirement'"
    "   THEN (page.entry::jsonb ->> 'entity_id')::uuid END"
    "  AND revision = (page.entry::jsonb ->> 'revision')::int) AS revisions ON true ORDER BY page.position"
)
_UNSEALED = text(
    "SELECT seq, position, entry, digest, hash, NULL AS document FROM audit_entries"
    " WHERE position IS NULL AND seq > :seq ORDER BY seq LIMIT :limit"
)


async def sealed_after(session: AsyncSession, position: int, limit: int) -> Sequence[RowMapping]:
    """The next part of the chain."""
    return (await session.execute(_EXPORT, {"position": position, "limit": limit})).mappings().all()


async def unsealed_after(session: AsyncSession, seq: int, limit: int) -> Sequence[RowMapping]:
    """What is written and not sealed yet."""
    return (await session.execute(_UNSEALED, {"seq": seq, "limit": limit})).mappings().all()
