"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime

from plumbline_analysis.groups import service
from plumbline_analysis.groups.schemas import GroupScores
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Name

router = APIRouter(prefix="/api/v1/services", tags=["groups"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("/scores")
async def scores(
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    of: Annotated[Name, Query(alias="service", description="`service.name`")],
    start: Annotated[AwareDatetime | None, Query(alias="from", description="An hour before `to` if left out")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to", description="Now if left out")] = None,
    step: Annotated[int | None, Query(ge=1, le=86_400 * 7, description="Seconds a slice")] = None,
) -> GroupScores:
    """How unusual the signals of a service are, taken together, and which of them make it so."""
    native = request.app.state.settings.evaluation_interval_seconds
    return await service.scores(session, of, start, end, step, native)
