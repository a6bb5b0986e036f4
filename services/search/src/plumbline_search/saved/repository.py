"""SQL on saved searches."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.models import SavedSearch
from plumbline_search.saved.matching import Wanted
from plumbline_search.saved.schemas import SavedSearchContent
from plumbline_search.searches.filters import AllOf, Filter, IsIn
from plumbline_search.text import question

# A version that another transaction has drawn and not committed yet may be told or not.
_NEWEST = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM search_versions")


async def newest_version(session: AsyncSession) -> int:
    return int((await session.execute(_NEWEST)).scalar_one())


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> tuple[Sequence[SavedSearch], int]:
    where = [] if team is None else [SavedSearch.team == team]
    rows = await session.scalars(
        select(SavedSearch)
        .where(*where)
        .order_by(SavedSearch.created_at.desc(), SavedSearch.id.desc())
        .offset(skip)
        .limit(limit)
    )
    total = await session.scalar(select(func.count()).select_from(SavedSearch).where(*where))
    return rows.all(), total or 0


async def find(session: AsyncSession, id: UUID) -> SavedSearch | None:
    return await session.get(SavedSearch, id)


async def count(session: AsyncSession, team: str) -> int:
    return await session.scalar(select(func.count()).select_from(SavedSearch).where(SavedSearch.team == team)) or 0


async def remove(session: AsyncSession, id: UUID) -> None:
    await session.execute(delete(SavedSearch).where(SavedSearch.id == id))


async def wanted(session: AsyncSession) -> list[Wanted]:
    """All of them, as documents are held against them."""
    return [_wanted(each) for each in await session.scalars(select(SavedSearch))]


def _wanted(saved: SavedSearch) -> Wanted:
    content = SavedSearchContent(team=saved.team, name=saved.name, **saved.request)
    parts: list[Filter] = []
    if content.kinds is not None:
        parts.append(IsIn.model_validate({"facet": "kind", "in": list(content.kinds)}))
    if content.service is not None:
        parts.append(IsIn.model_validate({"facet": "service", "in": [content.service]}))
    if content.filter is not None:
        parts.append(content.filter)
    return Wanted(
        id=saved.id,
        name=saved.name,
        team=saved.team,
        since=saved.since,
        question=None if content.query is None else question.parsed(content.query),
        condition=AllOf.model_construct(all=parts) if parts else None,
    )
