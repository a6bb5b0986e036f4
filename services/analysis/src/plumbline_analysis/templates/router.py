"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from plumbline_analysis.templates import service
from plumbline_analysis.templates.schemas import LogTemplatePage, LogTemplateSort
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import LogTemplateSnapshot, Name

router = APIRouter(prefix="/api/v1/log-templates", tags=["log templates"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    q: Annotated[Name | None, Query(description="A part of the template, in any case")] = None,
    sort: LogTemplateSort = LogTemplateSort.LAST_SEEN_DOWN,
) -> LogTemplatePage:
    """The templates of the services' logs, those seen last at the top unless asked otherwise."""
    return await service.page(session, service_name, q, sort, skip, limit)


@router.get("/{id}")
async def read(id: UUID, actor: Viewer, session: web.ReadSession) -> LogTemplateSnapshot:
    """One template; the one that it is part of now, where it turned out to be one with another."""
    return await service.one(session, id)
