"""HTTP in, one service call."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from plumbline_analysis.backtests import service
from plumbline_analysis.backtests.schemas import BacktestContent
from plumbline_analysis.jobs.router import ACCEPTED, Asker, accepted
from plumbline_common import idempotency, web
from plumbline_common.schemas import JobSnapshot

router = APIRouter(prefix="/api/v1/signals/{id}/backtests", tags=["jobs"])


@router.post("", status_code=202, response_model=JobSnapshot, responses=ACCEPTED)
async def backtest(
    id: UUID,
    content: BacktestContent,
    actor: Asker,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
) -> Response:
    """Try up to 8 detectors on a signal's history: what each would have raised, and how good that is."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    longest_days = request.app.state.settings.retention_days
    return await claimed.keep(accepted(await service.request(session, id, content, actor, longest_days)))
