"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from plumbline_common import auth, web
from plumbline_common.schemas import Name, Team
from plumbline_search.searches import legs, schemas, service, similar
from plumbline_search.searches.schemas import DocumentKind, SearchRequest, SearchResponse, SimilarPage

router = APIRouter(prefix="/api/v1/search", tags=["search"])
similar_router = APIRouter(prefix="/api/v1/documents", tags=["search"])


async def tools_of(request: Request) -> legs.Tools:
    tools: legs.Tools = request.app.state.search_tools
    return tools


Viewer = Annotated[auth.UserInfo, Depends(auth.require("viewer"))]
Tools = Annotated[legs.Tools, Depends(tools_of)]


@router.post("", response_model=SearchResponse)
async def search(request: SearchRequest, actor: Viewer, session: web.ReadSession, tools: Tools) -> Response:
    """Find requirements, anomalies and runbooks by words and by meaning."""
    return web.json_response(await service.answer(session, tools, request, actor))


@router.get("", response_model=SearchResponse)
async def search_by_address(
    actor: Viewer,
    session: web.ReadSession,
    tools: Tools,
    q: Annotated[schemas.Query, Query(description="Words in any language and order")],
    kind: Annotated[list[DocumentKind] | None, Query(min_length=1, max_length=20)] = None,
    service_name: Annotated[Name | None, Query(alias="service")] = None,
    team: Annotated[Team | None, Query()] = None,
    skip: Annotated[int, Query(ge=0, le=10_000, description="How many to leave out")] = 0,
    limit: web.Limit = 50,
) -> Response:
    """The same as POST, for a link that can be passed on."""
    request = SearchRequest(query=q, kinds=kind, service=service_name, team=team, skip=skip, limit=limit)
    return web.json_response(await service.answer(session, tools, request, actor))


@similar_router.get("/{id:uuid}/similar")
async def similar_to(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    tools: Tools,
    kind: Annotated[list[DocumentKind] | None, Query(max_length=20)] = None,
    service_name: Annotated[Name | None, Query(alias="service")] = None,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> SimilarPage:
    """What is like a requirement, an anomaly, a runbook or a postmortem; past anomalies with how they ended."""
    return await similar.page(session, tools, id, kind, service_name, actor, skip, limit)
