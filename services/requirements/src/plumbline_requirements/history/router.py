"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Path as PathParameter

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import RequirementSnapshot
from plumbline_requirements.history import service
from plumbline_requirements.history.schemas import Difference, RevisionPage

router = APIRouter(prefix="/api/v1/requirements/{id}", tags=["history"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Number = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]


@router.get("/revisions")
async def page(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> RevisionPage:
    """Who changed what and why, the newest first; also of a requirement that is deleted."""
    return await service.page(session, id, skip, limit)


@router.get("/revisions/{revision}", response_model=RequirementSnapshot)
async def read(id: UUID, revision: Number, actor: Viewer, session: web.ReadSession) -> Response:
    """What one revision said."""
    return web.json_response((await service.document(session, id, revision)).encode())


@router.get("/diff")
async def difference(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    first: Annotated[int, Query(alias="from", ge=1, le=2**31 - 1)],
    second: Annotated[int, Query(alias="to", ge=1, le=2**31 - 1)],
) -> Difference:
    """The members that differ between two revisions; bookkeeping is left out."""
    return await service.difference(session, id, first, second)
