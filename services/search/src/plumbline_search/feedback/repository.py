"""SQL on feedback."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.models import Feedback


async def page(session: AsyncSession, skip: int, limit: int) -> tuple[Sequence[Feedback], int]:
    """The latest first."""
    rows = await session.scalars(
        select(Feedback).order_by(Feedback.at.desc(), Feedback.id.desc()).offset(skip).limit(limit)
    )
    total = await session.scalar(select(func.count()).select_from(Feedback))
    return rows.all(), total or 0


async def judgements(session: AsyncSession, skip: int, limit: int) -> tuple[Sequence[Row[Any]], int]:
    """One for each query and hit, in the order of queries: the latest word, of which a click is the weakest."""
    word = case((Feedback.action == "accepted", 2), (Feedback.action == "rejected", 0), else_=1).label("grade")
    weak = Feedback.action == "clicked"
    latest = (
        select(Feedback.query, Feedback.kind, Feedback.entity_id, word)
        .ext(distinct_on(Feedback.query, Feedback.kind, Feedback.entity_id))
        .order_by(Feedback.query, Feedback.kind, Feedback.entity_id, weak, Feedback.at.desc())
        .subquery()
    )
    rows = await session.execute(
        select(latest).order_by(latest.c.query, latest.c.kind, latest.c.entity_id).offset(skip).limit(limit)
    )
    total = await session.scalar(select(func.count()).select_from(latest))
    return rows.all(), total or 0
