"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.detectors import service
from plumbline_analysis.detectors.schemas import (
    DAYS,
    Bar,
    Days,
    DetectorProposal,
    DetectorResponse,
    DetectorRevisionContent,
    DetectorRevisionPage,
    DetectorRevisionResponse,
)
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag

router = APIRouter(prefix="/api/v1/signals/{id}/detector", tags=["detectors"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Operator = Annotated[UserInfo, Depends(require("operator"))]


@router.get("", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> DetectorResponse:
    """The detector that watches an indicator: its bar, and what people say of its anomalies."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.get("/proposal", responses={200: {"headers": web.ETAG}})
async def propose(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    response: Response,
    bar: Annotated[Bar | None, Query(description="The bar to try; what the labels ask for if left out")] = None,
    days: Annotated[Days, Query(description="Of history")] = DAYS,
) -> DetectorProposal:
    """What the labels ask the bar to be, and what it, or any other, would have changed on stored history."""
    step = request.app.state.settings.evaluation_interval_seconds
    proposed = await service.propose(session, id, bar, days, step)
    response.headers["ETag"] = etag(proposed.revision)
    return proposed


@router.get("/revisions")
async def revisions(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> DetectorRevisionPage:
    """The changes of a detector's bar with their measured effects, the newest first."""
    return await service.revisions(session, id, skip, limit)


@router.post(
    "/revisions", status_code=201, response_model=DetectorRevisionResponse, responses={201: {"headers": web.ETAG}}
)
async def apply(
    id: UUID,
    content: DetectorRevisionContent,
    actor: Operator,
    reads: web.ReadSession,
    session: web.Session,
    request: Request,
    key: idempotency.Key = None,
    if_match: web.IfMatch = None,
) -> Response:
    """Set the bar from the next evaluation on. Its effect on history is measured first, and kept with it."""
    # Before the transaction: it takes a second where the history is long.
    step = request.app.state.settings.evaluation_interval_seconds
    measured = await service.propose(reads, id, content.bar, content.days, step)
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    applied = await service.apply(session, content, measured, if_match, actor)
    headers = {"ETag": etag(applied.revision)}
    return await claimed.keep(web.json_response(applied.model_dump_json().encode(), 201, headers))
