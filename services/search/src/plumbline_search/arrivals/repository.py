"""SQL on what arrived."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.models import SearchDocument

# What is taken is gone with the commit of what was done with it. Others take what comes behind.
_TAKE = text(
    "DELETE FROM search_arrivals WHERE id IN"
    " (SELECT id FROM search_arrivals ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)"
    " RETURNING document, rewritten"
)
_TOLD = text(
    "INSERT INTO search_saved_matches (saved, document) SELECT :saved, document FROM unnest(:documents) AS document"
    " ON CONFLICT DO NOTHING RETURNING document"
).bindparams(bindparam("saved", type_=sa.Uuid), bindparam("documents", type_=ARRAY(sa.BigInteger)))


async def take(session: AsyncSession, most: int) -> dict[int, bool]:
    """The oldest arrivals: by document, whether its text was rewritten."""
    taken: dict[int, bool] = {}
    for document, rewritten in await session.execute(_TAKE, {"most": most}):
        taken[document] = taken.get(document, False) or rewritten
    return taken


async def documents(session: AsyncSession, ids: Sequence[int]) -> Sequence[sa.Row[Any]]:
    """Those of `ids` that are there, in the order of ids."""
    columns = ("id", "version", "kind", "entity_id", "revision", "key", "external_id", "title", "body", "service")
    rows = await session.execute(
        select(*(getattr(SearchDocument, name) for name in (*columns, "state", "updated_at")))
        .where(SearchDocument.id.in_(ids), ~SearchDocument.deleted)
        .order_by(SearchDocument.id)
    )
    return rows.all()


async def told(session: AsyncSession, saved: Any, documents: Sequence[int]) -> list[int]:
    """Note that `documents` are told of the saved search; returns those that were not before."""
    return list((await session.execute(_TOLD, {"saved": saved, "documents": list(documents)})).scalars())
