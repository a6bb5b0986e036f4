"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Team
from plumbline_search.saved import service
from plumbline_search.saved.schemas import SavedSearchContent, SavedSearchPage, SavedSearchResponse

router = APIRouter(prefix="/api/v1/saved-searches", tags=["saved searches"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]


@router.get("")
async def page(
    _: Viewer, session: web.ReadSession, team: Team | None = None, skip: web.Skip = 0, limit: web.Limit = 50
) -> SavedSearchPage:
    """What a team, or any, wants to be told of; the newest first."""
    return await service.page(session, team, skip, limit)


@router.post("", status_code=201)
async def create(
    content: SavedSearchContent, actor: Editor, session: web.Session, response: Response
) -> SavedSearchResponse:
    """Have each document told, once, that comes or is rewritten from now on and matches: `search.search.matched`."""
    created = await service.create(session, content, actor)
    response.headers["Location"] = f"{router.prefix}/{created.id}"
    return created


@router.get("/{id}")
async def read(id: UUID, _: Viewer, session: web.ReadSession) -> SavedSearchResponse:
    """One saved search."""
    return await service.read(session, id)


@router.delete("/{id}", status_code=204)
async def delete(id: UUID, actor: Editor, session: web.Session) -> None:
    """Tell nothing more of it."""
    await service.delete(session, id, actor)
