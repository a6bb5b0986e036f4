"""Documents for the tests of the search service, and vectors whose cosines are known."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from plumbline_common import db
from plumbline_search.documents import content, indexing
from plumbline_search.documents.content import Content, Document
from plumbline_search.embedding.embedder import Vector
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS

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


def found_by(document: Document, vectors: Vectors | None = None) -> Content:
    """What the document is found by: its words, and the given vectors (one for each passage, or one for all)."""
    passages, _ = content.passages_of(document.title, document.body)
    given = np.atleast_2d(axis(0) if vectors is None else vectors)
    counts = content.counts_of(document.key, document.title, document.body)
    return Content(counts, passages, np.broadcast_to(given, (len(passages), DIMENSIONS)))


def putting(sessions: db.Sessions) -> Put:
    """Stores documents as the service does, and says whether it did."""

    async def put(document: Document, vectors: Vectors | None = None) -> bool:
        async with sessions.begin() as session:
            return await indexing.index(session, document, found_by(document, vectors))

    return put
