"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from plumbline_common import auth, web
from plumbline_common.schemas import Name, Team
from plumbline_search import schemas, service
from plumbline_search.embeddings import Embedder
from plumbline_search.schemas import DocumentKind, SearchRequest, SearchResponse

router = APIRouter(prefix="/api/v1/search", tags=["search"], dependencies=[Depends(auth.require("viewer"))])


def embedder_of(request: Request) -> Embedder:
    embedder: Embedder = request.app.state.embedder
    return embedder


Embedding = Annotated[Embedder, Depends(embedder_of)]


@router.post("")
async def search(request: SearchRequest, session: web.ReadSession, embedder: Embedding) -> SearchResponse:
    """Find requirements, anomalies and runbooks by words and by meaning."""
    return await service.search(session, embedder, request)


@router.get("")
async def search_by_address(
    session: web.ReadSession,
    embedder: Embedding,
    q: Annotated[schemas.Query, Query(description="Words in any language and order")],
    kind: Annotated[list[DocumentKind] | None, Query(min_length=1, max_length=20)] = None,
    service_name: Annotated[Name | None, Query(alias="service")] = None,
    team: Annotated[Team | None, Query()] = None,
    skip: Annotated[int, Query(ge=0, le=10_000, description="How many to leave out")] = 0,
    limit: web.Limit = 50,
) -> SearchResponse:
    """The same as POST, for a link that can be passed on."""
    request = SearchRequest(query=q, kinds=kind, service=service_name, team=team, skip=skip, limit=limit)
    return await service.search(session, embedder, request)
