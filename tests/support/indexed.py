"""Documents for the tests of the search service, and vectors whose cosines are known."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.documents import content, indexing
from plumbline_search.documents.content import Content, Document
from plumbline_search.embedding.embedder import Embedder, Vector
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS, MODEL
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import NoIndex, Serving
from plumbline_search.searches import service
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.schemas import SearchRequest, SearchResponse
from plumbline_search.text import analysis

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Put = Callable[..., Awaitable[bool]]


def axis(number: int) -> Vector:
    vector: Vector = np.zeros(DIMENSIONS, np.float32)
    vector[number] = 1
    return vector


def near(vector: Vector, cosine: float, away: int = 1) -> Vector:
    """As near to `vector`, an axis, as `cosine` says, towards another axis."""
    found: Vector = (cosine * vector + np.sqrt(1 - cosine**2) * axis(away)).astype(np.float32)
    return found


def document(number: int = 1, **changes: object) -> Document:
    plain = Document("requirement", UUID(int=number), 1, NOW, "Checkout answers fast", "Payments within 300 ms.")
    return replace(plain, **changes)  # type: ignore[arg-type]


LIVE = Index(1, 0, "live", MODEL, DIMENSIONS, analysis.VERSION, 0, 0, "tests", NOW, NOW)
"""The index that the tests' database begins with."""


class OneIndex(Serving):
    """Of the live index and `embedder`, whatever the database says."""

    def __init__(self, embedder: Embedder | None = None, *indexes: Index) -> None:
        self._indexes = indexes or (LIVE,)
        self.models = {MODEL: embedder} if embedder else {MODEL: Embedder(_never)}


async def _never(texts: list[str]) -> Vectors:
    raise AssertionError("nothing is to be embedded here")


async def begin_with_one(connection: AsyncConnection) -> None:
    """Leave no index but `LIVE` in the database."""
    await connection.execute(text("DELETE FROM search_indexes"))
    await connection.execute(
        text(
            "INSERT INTO search_indexes (id, slot, state, model, dimensions, analysis, asked_by)"
            " OVERRIDING SYSTEM VALUE VALUES (:id, :slot, :state, :model, :dimensions, :analysis, :asked_by)"
        ),
        {
            name: getattr(LIVE, name)
            for name in ("id", "slot", "state", "model", "dimensions", "analysis", "asked_by")
        },
    )


async def seen(app: FastAPI) -> None:
    """Until the service that just started knows the live index, in which it finds and writes."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(NoIndex):
                return await app.state.serving.check()
            await asyncio.sleep(0.01)


async def answered(session: AsyncSession, tools: Tools, request: SearchRequest, actor: UserInfo) -> SearchResponse:
    """What a search answers."""
    return SearchResponse.model_validate_json(await service.answer(session, tools, request, actor))


def found_by(document: Document, vectors: Vectors | None = None) -> Content:
    """What the document is found by: its words, and the given vectors (one for each passage, or one for all)."""
    passages, _ = content.passages_of(document.title, document.body)
    given = np.atleast_2d(axis(0) if vectors is None else vectors)
    counts = content.counts_of(document.key, document.title, document.body)
    return Content(counts, passages, {LIVE.id: np.broadcast_to(given, (len(passages), DIMENSIONS))})


def putting(sessions: db.Sessions) -> Put:
    """Stores documents as the service does, and says whether it did."""

    async def put(document: Document, vectors: Vectors | None = None) -> bool:
        async with sessions.begin() as session:
            return await indexing.index(session, OneIndex(), document, found_by(document, vectors))

    return put
