"""SQL on the passages of an index."""

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.indexes.repository import Index
from plumbline_search.passages.store import Passages
from plumbline_search.postings.scoring import Versions

_ALL_PASSAGES = (
    "SELECT version, start, stop, halfvec_send(embedding) AS packed FROM search_passages_{slot}"
    " WHERE version = ANY($1::int[]) ORDER BY version, place"
)


async def all_passages(session: AsyncSession, index: Index, versions: Versions) -> Passages:
    """Every passage of `versions`, by version."""
    rows = await db.fetch(session, _ALL_PASSAGES.format(slot=index.slot), versions.tolist())
    # Two bytes of dimensions, two that are not used, then big-endian halves.
    packed = np.frombuffer(b"".join(row["packed"] for row in rows), np.uint8)
    packed = packed.reshape(len(rows), 4 + 2 * index.dimensions)[:, 4:]
    numbers = np.array([(row["version"], row["start"], row["stop"]) for row in rows], np.int32).reshape(-1, 3)
    vectors = np.ascontiguousarray(packed).view(">f2").astype(np.float16)
    return Passages(numbers[:, 0], numbers[:, 1], numbers[:, 2], vectors)


async def count(session: AsyncSession, index: Index) -> int:
    """How many passages it has."""
    [row] = await db.fetch(session, f"SELECT count(*) FROM search_passages_{int(index.slot)}")  # noqa: S608
    return int(row["count"])
