"""What the audit log tells."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_requirements.audits import repository
from plumbline_requirements.audits.schemas import AuditEntryView, AuditPage

BATCH = 500


async def page(session: AsyncSession, filters: Mapping[str, Any], skip: int, limit: int) -> AuditPage:
    rows, total = await repository.page(session, filters, skip, limit)
    items = [AuditEntryView(position=row["position"], entry=json.loads(row["entry"])) for row in rows]
    return AuditPage(items=items, total=total)


async def export(sessions: db.Sessions, after: int) -> AsyncIterator[bytes]:
    """The whole log from the position after `after` on as lines of JSON, for who verifies the chain."""
    position = after
    while True:
        async with sessions() as session:
            rows = await repository.sealed_after(session, position, BATCH)
        if not rows:
            break
        yield b"".join(map(_line, rows))
        position = rows[-1]["position"]
    seq = 0
    while True:
        async with sessions() as session:
            rows = await repository.unsealed_after(session, seq, BATCH)
        if not rows:
            return
        yield b"".join(map(_line, rows))
        seq = rows[-1]["seq"]


def _line(row: RowMapping) -> bytes:
    return orjson.dumps(
        {
            "position": row["position"],
            "entry": row["entry"],
            "digest": row["digest"].hex(),
            "hash": row["hash"] and row["hash"].hex(),
            "document": row["document"],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
