"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Instant, Name
from plumbline_requirements.audits import service
from plumbline_requirements.audits.schemas import AuditPage

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Auditor = Annotated[UserInfo, Depends(require("reviewer", "admin"))]


@router.get("")
async def page(
    actor: Auditor,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    entity_id: Name | None = None,
    by: Annotated[Name | None, Query(alias="actor")] = None,
    action: Annotated[Name | None, Query(description="Such as requirement.updated")] = None,
    after: Instant | None = None,
    before: Instant | None = None,
) -> AuditPage:
    """Who changed what, when, why, and from which request and trace; the newest first."""
    given = {"entity_id": entity_id, "actor": by, "action": action, "after": after, "before": before}
    filters = {name: value for name, value in given.items() if value is not None}
    return await service.page(session, filters, skip, limit)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def export(
    actor: Auditor, request: Request, after: Annotated[int, Query(ge=0, le=2**62, description="A position")] = 0
) -> StreamingResponse:
    """The hash chain, a line an entry: what `plumbline audit verify` reads."""
    lines = service.export(request.app.state.read_sessions, after)
    return StreamingResponse(lines, media_type="application/x-ndjson")
