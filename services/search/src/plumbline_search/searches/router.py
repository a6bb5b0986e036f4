"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from plumbline_common import auth, web
from plumbline_common.schemas import Name, Team
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.postings.reading import Reader
from plumbline_search.searches import schemas, service
from plumbline_search.searches.schemas import DocumentKind, SearchRequest, SearchResponse

router = APIRouter(prefix="/api/v1/search", tags=["search"])


def embedder_of(request: Request) -> Embedder:
    embedder: Embedder = request.app.state.embedder
    return embedder


def reader_of(request: Request) -> Reader:
    reader: Reader = request.app.state.reader
    return reader


Viewer = Annotated[auth.UserInfo, Depends(auth.require("viewer"))]
Embedding = Annotated[Embedder, Depends(embedder_of)]
Reading = Annotated[Reader, Depends(reader_of)]


@router.post("")
async def search(
    request: SearchRequest, actor: Viewer, session: web.ReadSession, reader: Reading, embedder: Embedding
) -> SearchResponse:
    """Find requirements, anomalies and runbooks by words and by meaning."""
    return await service.search(session, reader, embedder, request, actor)


@router.get("")
async def search_by_address(
    actor: Viewer,
    session: web.ReadSession,
    reader: Reading,
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
    return await service.search(session, reader, embedder, request, actor)
