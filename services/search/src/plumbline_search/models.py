"""The tables of the search service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Computed, Identity, Index, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plumbline_common import db, inbox, outbox
from plumbline_search.model_store import DIMENSIONS


class Base(DeclarativeBase):
    metadata = db.metadata()


outbox.add_tables(Base.metadata)
inbox.add_tables(Base.metadata)

WORDS = (
    "setweight(to_tsvector('english', coalesce(key, '') || ' ' || title), 'A')"
    " || setweight(to_tsvector('english', body), 'B')"
)


class SearchDocument(Base):
    """The newest known revision of an entity; after its deletion the row is a tombstone without content."""

    __tablename__ = "search_documents"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('requirement', 'anomaly', 'incident', 'runbook', 'postmortem', 'log_template')", name="kind"
        ),
        CheckConstraint("NOT deleted OR (title = '' AND body = '' AND embedding IS NULL)", name="tombstone"),
        UniqueConstraint("kind", "entity_id"),
        # fastupdate would make every query read what was not yet sorted in, and now and then one writer sort it in.
        Index("ix_search_documents_words", "words", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index(
            "ix_search_documents_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_ip_ops"},
            postgresql_with={"m": 16, "ef_construction": 64},
        ),
        Index("ix_search_documents_service", "service"),
        Index("ix_search_documents_team", "team"),
        # Room on each page and words in the row: a change of state alone then touches no index (a HOT update).
        {"postgresql_with": {"fillfactor": 85, "toast_tuple_target": 4080}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[UUID] = mapped_column(Uuid)
    revision: Mapped[int] = mapped_column(BigInteger)
    deleted: Mapped[bool] = mapped_column(Boolean)
    """A tombstone: the revision that was deleted, so that no older event revives it."""
    key: Mapped[str | None] = mapped_column(Text)
    """What people call it, such as REQ-42."""
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str | None] = mapped_column(Text)
    facets: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    model: Mapped[str | None] = mapped_column(Text)
    """Name and version of the model that made `embedding`."""
    embedding: Mapped[list[float] | None] = mapped_column(HALFVEC(DIMENSIONS))
    """Of length 1: the inner product is the cosine."""
    words: Mapped[str] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True))
