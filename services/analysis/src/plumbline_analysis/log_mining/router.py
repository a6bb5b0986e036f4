"""HTTP in, one service call."""

from fastapi import APIRouter, Request, Response

from plumbline_analysis.jobs.router import ACCEPTED, Asker, accepted
from plumbline_analysis.log_mining import service
from plumbline_analysis.log_mining.schemas import LogMiningContent
from plumbline_common import idempotency, web
from plumbline_common.schemas import JobSnapshot

router = APIRouter(prefix="/api/v1/log-templates/mining", tags=["jobs"])


@router.post("", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def mine(
    content: LogMiningContent, actor: Asker, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Mine the stored lines of a service, or lines that are sent along: templates with their counts over time, and
    what changed."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    longest_days = request.app.state.settings.log_retention_days
    return await claimed.keep(accepted(await service.request(session, content, actor, longest_days)))
