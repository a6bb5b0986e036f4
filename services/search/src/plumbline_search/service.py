"""What the search service does: index a document, remove one, find what a question means."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import outbox, telemetry
from plumbline_common.events import DocumentIndexed
from plumbline_search import repository, rules
from plumbline_search.documents import Document
from plumbline_search.embeddings import Embedder, Vector
from plumbline_search.model_store import MODEL
from plumbline_search.repository import Filters
from plumbline_search.schemas import SearchHit, SearchLegs, SearchRequest, SearchResponse, SearchTookMs

T = TypeVar("T")

CANDIDATES = 100
"""How many documents each leg brings to the fusion."""


async def index(session: AsyncSession, document: Document, vector: Vector) -> None:
    """Make `document` searchable, unless a revision as new is there."""
    if await repository.put(session, document, vector):
        await outbox.stage(
            session,
            DocumentIndexed(
                kind=document.kind, entity_id=document.entity_id, revision=document.revision, model=MODEL
            ),
        )


async def remove(
    session: AsyncSession, kind: Literal["requirement", "anomaly"], entity_id: UUID, revision: int, at: datetime
) -> None:
    """Remove the content, for good where no higher revision follows."""
    await repository.bury(session, kind, entity_id, revision, at)


async def search(session: AsyncSession, embedder: Embedder, request: SearchRequest) -> SearchResponse:
    """The best documents by words and by meaning. The words are looked up while the query is embedded.

    `session` must be in autocommit: the embedding is made by another process, and no transaction waits for it.
    """
    started = time.perf_counter()
    filters = Filters(request.kinds, request.service, request.team)
    embedding = asyncio.create_task(_timed(_embedded(embedder, request.query)))
    try:
        with telemetry.tracer.start_as_current_span("search by words"):
            by_words, lexical_ms = await _timed(repository.by_words(session, request.query, filters, CANDIDATES))
        await repository.prepare_by_meaning(session)
        vector, embedding_ms = await embedding
    finally:
        embedding.cancel()
        await asyncio.gather(embedding, return_exceptions=True)
    with telemetry.tracer.start_as_current_span("search by meaning"):
        by_meaning, vector_ms = await _timed(repository.by_meaning(session, vector, filters, CANDIDATES))
    fusing = time.perf_counter()
    fused = rules.fuse(by_words, by_meaning)
    page = fused[request.skip : request.skip + request.limit]
    fusion_ms = _since(fusing)
    rows, documents_ms = await _timed(repository.described(session, [hit.id for hit in page], request.query))
    return SearchResponse(
        items=[_hit(hit, rows[hit.id]) for hit in page if hit.id in rows],
        total=len(fused),
        took_ms=SearchTookMs(
            embedding=embedding_ms,
            lexical=lexical_ms,
            vector=vector_ms,
            fusion=fusion_ms,
            documents=documents_ms,
            total=_since(started),
        ),
    )


async def _embedded(embedder: Embedder, query: str) -> Vector:
    with telemetry.tracer.start_as_current_span("embed query"):
        vector: Vector = (await embedder.embed([query], urgent=True))[0]
        return vector


def _hit(hit: rules.Fused, row: Row[*tuple[Any, ...]]) -> SearchHit:
    return SearchHit(
        kind=row.kind,
        entity_id=row.entity_id,
        revision=row.revision,
        key=row.key,
        title=row.title,
        snippet=rules.shown(row.snippet),
        score=hit.score,
        legs=SearchLegs(lexical=hit.lexical, vector=hit.vector),
        service=row.service,
        team=row.team,
        state=row.state,
        updated_at=row.updated_at,
    )


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    """The result, and how many milliseconds it took."""
    started = time.perf_counter()
    result = await work
    return result, _since(started)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
