"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from plumbline_analysis.backfills import service
from plumbline_analysis.backfills.schemas import BackfillContent, ServiceBackfillContent
from plumbline_analysis.jobs.router import ACCEPTED, accepted
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import JobSnapshot

router = APIRouter(prefix="/api/v1", tags=["jobs"])

Operator = Annotated[UserInfo, Depends(require("operator"))]


@router.post("/signals/{id}/backfills", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def of_signal(
    id: UUID,
    content: BackfillContent,
    actor: Operator,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Judge the stored history of an indicator by its present detector: scores where there are none, and anomalies
    that were not known. Nobody is called for these, and what was judged before stays."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    longest_days = request.app.state.settings.retention_days
    return await claimed.keep(accepted(await service.of_signal(session, id, content, actor, longest_days)))


@router.post("/services/backfills", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def of_service(
    content: ServiceBackfillContent,
    actor: Operator,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """The same of all signals of a service that a detector watches, one after the other in one job."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    longest_days = request.app.state.settings.retention_days
    return await claimed.keep(accepted(await service.of_service(session, content, actor, longest_days)))
