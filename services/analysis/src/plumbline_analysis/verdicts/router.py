"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from plumbline_analysis.verdicts import service
from plumbline_analysis.verdicts.schemas import VerdictPage
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import VerdictState

router = APIRouter(prefix="/api/v1/verdicts", tags=["verdicts"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    requirement_id: UUID | None = None,
    state: VerdictState | None = None,
) -> VerdictPage:
    """The latest verdict of each requirement in force with its evidence, the latest change first."""
    return await service.page(session, requirement_id, state, skip, limit)
