"""SQL on the indexes: which there are, what one lacks, and the swap."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

State = Literal["building", "live", "old"]


@dataclass(frozen=True)
class Index:
    """One row of `search_indexes`; see there."""

    id: int
    slot: int
    state: State
    model: str
    dimensions: int
    analysis: int
    reached: int
    done: int
    asked_by: str
    asked_at: datetime
    changed_at: datetime


_EVERY = text(
    "SELECT id, slot, state, model, dimensions, analysis, reached, done, asked_by, asked_at, changed_at"
    " FROM search_indexes ORDER BY id"
)
_BEGIN = text(
    "INSERT INTO search_indexes (slot, state, model, dimensions, analysis, asked_by)"
    " SELECT slot, 'building', :model, :dimensions, :analysis, :by FROM generate_series(0, 1) AS slot"
    " WHERE NOT EXISTS (SELECT 1 FROM search_indexes i WHERE i.slot = slot.slot)"
    " AND NOT EXISTS (SELECT 1 FROM search_indexes WHERE state <> 'live') ORDER BY slot LIMIT 1"
    " ON CONFLICT DO NOTHING RETURNING id"
)
# Each claim is of other documents: several processes build at the same time. What one that dies has claimed is
# missing in the end, and found by then.
_CLAIM = text(
    "WITH index AS (SELECT id, reached FROM search_indexes WHERE id = :id AND state = 'building' FOR UPDATE),"
    " claimed AS (SELECT d.id, d.version, d.key, d.title, d.body FROM search_documents d, index"
    "  WHERE NOT d.deleted AND d.version > index.reached ORDER BY d.version LIMIT :most),"
    " reached AS (UPDATE search_indexes SET reached = (SELECT max(version) FROM claimed)"
    "  WHERE id = (SELECT id FROM index) AND EXISTS (SELECT 1 FROM claimed))"
    " SELECT id, version, key, title, body FROM claimed ORDER BY version"
)
_LACKS = (
    " FROM search_documents d WHERE NOT d.deleted AND NOT EXISTS"
    " (SELECT 1 FROM search_passages_{slot} p WHERE p.version = d.version AND p.place = 0)"
)
_MISSING = [text(f"SELECT id, version, key, title, body{_LACKS.format(slot=slot)} LIMIT :most") for slot in (0, 1)]
_COUNT_MISSING = [text(f"SELECT count(*){_LACKS.format(slot=slot)}") for slot in (0, 1)]
_LOCKED = text(
    "SELECT id, version FROM search_documents WHERE version = ANY(:versions) AND NOT deleted"
    " ORDER BY id FOR SHARE SKIP LOCKED"
).bindparams(bindparam("versions", type_=ARRAY(sa.Integer)))
_DONE = text("UPDATE search_indexes SET done = done + :number, changed_at = clock_timestamp() WHERE id = :id")
_ORPHANS = [
    text(
        f"DELETE FROM search_passages_{slot} p WHERE NOT EXISTS"  # noqa: S608 - own names
        " (SELECT 1 FROM search_documents d WHERE d.version = p.version AND NOT d.deleted)"
    )
    for slot in (0, 1)
]
WRITING = 0x696E6465
"""Whoever writes documents shares this advisory lock until the commit; who swaps has it alone. "inde" in ASCII."""
_ALONE = text(f"SELECT pg_advisory_xact_lock({WRITING})")
_TURN = text("UPDATE search_indexes SET state = :state, changed_at = clock_timestamp() WHERE id = :id")
_EMPTIED = [text(f"TRUNCATE search_passages_{slot}") for slot in (0, 1)]
_DROPPED = (
    text("DELETE FROM search_fresh WHERE slot = :slot"),
    text("DELETE FROM search_postings WHERE run IN (SELECT id FROM search_runs WHERE slot = :slot)"),
    text("DELETE FROM search_runs WHERE slot = :slot"),
    text("DELETE FROM search_terms WHERE slot = :slot"),
    text("DELETE FROM search_indexes WHERE slot = :slot"),
)
_DOCUMENTS = text("SELECT count(*) FROM search_documents WHERE NOT deleted")
_SLOW = text("SET LOCAL statement_timeout = '10min'")


async def every(session: AsyncSession) -> list[Index]:
    """At most two, the older first."""
    return [Index(**row) for row in (await session.execute(_EVERY)).mappings()]


async def begin(session: AsyncSession, model: str, dimensions: int, analysis: int, by: str) -> int | None:
    """A new index in the slot that is free; None where none is."""
    values = {"model": model, "dimensions": dimensions, "analysis": analysis, "by": by}
    return (await session.execute(_BEGIN, values)).scalar_one_or_none()


async def claim(session: AsyncSession, index: Index, most: int) -> Sequence[sa.Row[Any]]:
    """The next documents that nobody else has claimed, by version: id, version, key, title, body."""
    return (await session.execute(_CLAIM, {"id": index.id, "most": most})).all()


async def missing(session: AsyncSession, index: Index, most: int) -> Sequence[sa.Row[Any]]:
    """Documents that the index does not have: id, version, key, title, body."""
    await session.execute(_SLOW)
    return (await session.execute(_MISSING[index.slot], {"most": most})).all()


async def count_missing(session: AsyncSession, index: Index) -> int:
    return int((await session.execute(_COUNT_MISSING[index.slot])).scalar_one())


async def documents(session: AsyncSession) -> int:
    """How many there are."""
    return int((await session.execute(_DOCUMENTS)).scalar_one())


async def lock(session: AsyncSession, versions: Sequence[int]) -> dict[int, int]:
    """Those of `versions` that documents have, which keep them until the transaction ends, with the documents' ids.

    What somebody writes just now is left out: it may have another version next.
    """
    rows = await session.execute(_LOCKED, {"versions": list(versions)})
    return {row.version: row.id for row in rows}


async def count_done(session: AsyncSession, index: Index, number: int) -> None:
    await session.execute(_DONE, {"id": index.id, "number": number})


async def remove_orphans(session: AsyncSession, index: Index) -> int:
    """Passages of texts that no document has. Returns how many."""
    await session.execute(_SLOW)
    return (await session.execute(_ORPHANS[index.slot])).rowcount  # type: ignore[attr-defined, no-any-return]


async def swap(session: AsyncSession, building: Index) -> bool:
    """Make it the live one, unless a document is missing. Nobody writes meanwhile."""
    await session.execute(_SLOW)
    await session.execute(_ALONE)
    now = {index.id: index.state for index in await every(session)}
    if now.get(building.id) != "building" or (await session.execute(_MISSING[building.slot], {"most": 1})).first():
        return False
    for id, state in now.items():
        if state == "live":
            await session.execute(_TURN, {"id": id, "state": "old"})
    await session.execute(_TURN, {"id": building.id, "state": "live"})
    return True


async def drop(session: AsyncSession, index: Index) -> None:
    """Remove it with all that it has."""
    await session.execute(_SLOW)
    await session.execute(_ALONE)
    await session.execute(_EMPTIED[index.slot])
    for statement in _DROPPED:
        await session.execute(statement, {"slot": index.slot})
