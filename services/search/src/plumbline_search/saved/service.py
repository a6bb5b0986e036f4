"""What can be done with saved searches."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden, NotFound
from plumbline_search.models import SavedSearch
from plumbline_search.saved import repository
from plumbline_search.saved.schemas import SavedSearchContent, SavedSearchPage, SavedSearchResponse

MOST = 200
"""Of a team: every document that comes is held against each."""


class NotYourTeamsSearch(Forbidden):
    slug = "not-your-team"
    title = "A team's saved searches are changed by that team or an admin"


class NoSuchSavedSearch(NotFound):
    slug = "saved-search-not-found"
    title = "There is no such saved search"


class SavedSearchExists(Conflict):
    slug = "saved-search-exists"
    title = "The team has a saved search of this name"


class TooManySavedSearches(Conflict):
    slug = "too-many-saved-searches"
    title = "The team has as many saved searches as it may have"


async def page(session: AsyncSession, team: str | None, skip: int, limit: int) -> SavedSearchPage:
    """The newest first."""
    rows, total = await repository.page(session, team, skip, limit)
    return SavedSearchPage(items=[_shown(row) for row in rows], total=total)


async def read(session: AsyncSession, id: UUID) -> SavedSearchResponse:
    """Raises `NoSuchSavedSearch`."""
    return _shown(await _found(session, id))


async def create(session: AsyncSession, content: SavedSearchContent, actor: UserInfo) -> SavedSearchResponse:
    """Raises `NotYourTeamsSearch`, `SavedSearchExists` and `TooManySavedSearches`."""
    _check_team(content.team, actor)
    if await repository.count(session, content.team) >= MOST:
        raise TooManySavedSearches(f"{content.team} has {MOST}; delete one")
    saved = SavedSearch(
        id=db.new_id(),
        team=content.team,
        name=content.name,
        request=content.model_dump(mode="json", exclude={"team", "name"}, exclude_none=True, by_alias=True),
        since=await repository.newest_version(session),
        created_at=datetime.now(UTC),
        created_by=actor.subject,
    )
    try:
        async with session.begin_nested():
            session.add(saved)
    except IntegrityError:
        raise SavedSearchExists(f"{content.team} has a saved search {content.name}", pointer="/name") from None
    return _shown(saved)


async def delete(session: AsyncSession, id: UUID, actor: UserInfo) -> None:
    """Raises `NoSuchSavedSearch` and `NotYourTeamsSearch`."""
    _check_team((await _found(session, id)).team, actor)
    await repository.remove(session, id)


async def _found(session: AsyncSession, id: UUID) -> SavedSearch:
    saved = await repository.find(session, id)
    if saved is None:
        raise NoSuchSavedSearch(f"there is no saved search {id}")
    return saved


def _check_team(team: str, actor: UserInfo) -> None:
    if team not in actor.teams and not actor.may("admin"):
        raise NotYourTeamsSearch(f"it belongs to the team {team}")


def _shown(saved: SavedSearch) -> SavedSearchResponse:
    return SavedSearchResponse(
        id=saved.id,
        team=saved.team,
        name=saved.name,
        created_at=saved.created_at,
        created_by=saved.created_by,
        **saved.request,
    )
