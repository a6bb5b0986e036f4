"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from plumbline_analysis.jobs.router import ACCEPTED, accepted
from plumbline_analysis.retunes import service
from plumbline_analysis.retunes.schemas import RetuneContent
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import JobSnapshot

router = APIRouter(prefix="/api/v1/signals/{id}/detector/retunes", tags=["jobs"])


@router.post("", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def retune(
    id: UUID,
    content: RetuneContent,
    actor: Annotated[UserInfo, Depends(require("operator"))],
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Propose the bar that labels ask for, measured on history before and after; it is set only with `apply`."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    return await claimed.keep(accepted(await service.request(session, id, content, actor)))
