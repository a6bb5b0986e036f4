"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_analysis.pulls import service
from plumbline_analysis.pulls.asking import Asker
from plumbline_analysis.pulls.schemas import PullTest, SourceContent, SourcePage, SourceResponse
from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Name

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Operator = Annotated[UserInfo, Depends(require("operator"))]

_MADE = web.ETAG | web.LOCATION


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    name: Annotated[Name | None, Query(description="Only the source of this name")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> SourcePage:
    """What points are pulled from, by name, and how that goes."""
    return await service.page(session, name, skip, limit)


@router.post("", status_code=201, response_model=SourceResponse, responses={201: {"headers": _MADE}})
async def create(
    content: SourceContent, actor: Operator, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Pull points from a Prometheus or from CloudWatch from now on, and the history before as far as asked."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    created = await service.create(session, content, actor, request.app.state.asker.targets)
    headers = {"ETag": etag(created.revision), "Location": f"{router.prefix}/{created.id}"}
    return await claimed.keep(web.json_response(created.model_dump_json().encode(), 201, headers))


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> SourceResponse:
    """One source, and how pulling it goes."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.put("/{id}", responses={200: {"headers": web.ETAG}})
async def replace(
    id: UUID,
    content: SourceContent,
    actor: Operator,
    session: web.Session,
    request: Request,
    response: Response,
    if_match: web.IfMatch = None,
) -> SourceResponse:
    """Change all but the name and the kind. A query that asks something else begins anew with its backfill."""
    replaced = await service.replace(session, id, content, if_match, actor, request.app.state.asker.targets)
    response.headers["ETag"] = etag(replaced.revision)
    return replaced


@router.delete("/{id}", status_code=204)
async def delete(id: UUID, actor: Operator, session: web.Session, if_match: web.IfMatch = None) -> None:
    """Pull nothing more from it. What was pulled stays."""
    await service.delete(session, id, if_match)


@router.post("/{id}/test")
async def try_query(
    id: UUID,
    actor: Operator,
    session: web.ReadSession,
    request: Request,
    query: Annotated[Name | None, Query(description="The first of its queries if left out")] = None,
) -> PullTest:
    """Ask one query now, over its last steps, and tell what comes or what the problem is. Nothing is stored."""
    source = await service.one(session, id)
    await session.close()  # before the source is asked, which takes seconds
    asker: Asker = request.app.state.asker
    return await asker.tried(source, query)
