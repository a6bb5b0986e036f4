"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_requirements.listing import service
from plumbline_requirements.listing.schemas import ListQuery, RequirementPage

router = APIRouter(prefix="/api/v1/requirements", tags=["requirements"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("", response_model=RequirementPage)
async def page(actor: Viewer, session: web.ReadSession, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of the requirements that match, with the total of all pages; the newest first."""
    return web.json_response(await service.page(session, query))
