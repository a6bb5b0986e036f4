"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_requirements import markup
from plumbline_requirements.coverage import service
from plumbline_requirements.coverage.schemas import (
    CoveragePage,
    CoverageQuery,
    ReportQuery,
    UnrequiredServicePage,
)

router = APIRouter(prefix="/api/v1/coverage", tags=["coverage"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]

_TYPES = {"html": "text/html", "markdown": "text/markdown"}


@router.get("")
async def page(actor: Viewer, session: web.ReadSession, query: Annotated[CoverageQuery, Query()]) -> CoveragePage:
    """How many requirements lack an SLI, an owner, verification or a verdict; the list's `gap` filter names them."""
    return await service.page(session, query)


@router.get("/services")
async def services(
    actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> UnrequiredServicePage:
    """Services that OpenSLO's objects name and that have no requirement."""
    return await service.unrequired(session, skip, limit)


@router.get(
    "/report",
    response_class=Response,
    responses={200: {"content": {media: {"schema": {"type": "string"}} for media in _TYPES.values()}}},
)
async def report(actor: Viewer, session: web.ReadSession, query: Annotated[ReportQuery, Query()]) -> Response:
    """The same for people to read, with pictures."""
    return Response(await service.report(session, query), media_type=_TYPES[query.format], headers=markup.HEADERS)
