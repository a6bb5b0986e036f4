"""HTTP in, one service call."""

from fastapi import APIRouter, Request, Response

from plumbline_analysis.jobs.router import ACCEPTED, Asker, accepted
from plumbline_analysis.what_if import service
from plumbline_analysis.what_if.schemas import WhatIfContent
from plumbline_common import idempotency, web
from plumbline_common.schemas import JobSnapshot

router = APIRouter(prefix="/api/v1/what-if", tags=["jobs"])


@router.post("", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def what_if(
    content: WhatIfContent, actor: Asker, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Hold stored history against an SLO: the budget it would have burned, and the alerts it would have fired."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    longest_days = request.app.state.settings.retention_days
    return await claimed.keep(accepted(await service.request(session, content, actor, longest_days)))
