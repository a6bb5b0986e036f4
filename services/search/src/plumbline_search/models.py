"""The tables of the search service."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from plumbline_common import db, inbox, outbox
from plumbline_search.embedding.model_store import SIZES


class Base(DeclarativeBase):
    metadata = db.metadata()


class TransactionId(sa.types.UserDefinedType[int]):
    """`xid8`: what PostgreSQL calls a transaction, and nothing else ever."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


ischema_names["xid8"] = TransactionId  # so that a schema that has it can be read

outbox.add_tables(Base.metadata)
inbox.add_tables(Base.metadata)

VERSIONS = sa.Sequence("search_versions", data_type=Integer, metadata=Base.metadata)
"""Numbers of texts: each text of each document has its own, which no later one takes."""


OPEN = (
    (("version",), ["state", "updated_at"]),
    (("service",), ["version"]),
    (("team",), ["version"]),
    (("kind", "state"), ["version"]),
)
"""Columns of an index, and what it holds besides."""


class SearchDocument(Base):
    """The newest known revision of an entity; after its deletion the row is a tombstone without content."""

    __tablename__ = "search_documents"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('requirement', 'anomaly', 'incident', 'runbook', 'postmortem', 'log_template')", name="kind"
        ),
        CheckConstraint("NOT deleted OR (title = '' AND body = '')", name="tombstone"),
        UniqueConstraint("kind", "entity_id"),
        Index("ix_search_documents_version", "version", unique=True, postgresql_where=sa.text("NOT deleted")),
        # What everyone may read is selected without a look at the table, whose rows are wide.
        *(
            Index(
                f"ix_search_documents_open_{'_'.join(columns)}",
                *columns,
                postgresql_include=include,
                postgresql_where=sa.text("NOT deleted AND readers IS NULL"),
            )
            for columns, include in OPEN
        ),
        Index(
            "ix_search_documents_restricted",
            "version",
            postgresql_where=sa.text("NOT deleted AND readers IS NOT NULL"),
        ),
        Index("ix_search_documents_service", "service"),
        Index("ix_search_documents_team", "team"),
        Index("ix_search_documents_kind_state", "kind", "state"),
        Index("ix_search_documents_updated_at", "updated_at"),
        Index("ix_search_documents_changed", "changed"),
        Index(
            "ix_search_documents_facets",
            "facets",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, server_default=VERSIONS.next_value())
    """What the text is called in postings and passages. It changes with the text, and with nothing else."""
    kind: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[UUID] = mapped_column(Uuid)
    revision: Mapped[int] = mapped_column(BigInteger)
    deleted: Mapped[bool] = mapped_column(Boolean)
    """A tombstone: the revision that was deleted, so that no older event revives it."""
    external_id: Mapped[str | None] = mapped_column(Text)
    """What its source calls it, of a document that came by the API."""
    key: Mapped[str | None] = mapped_column(Text)
    """What people call it, such as REQ-42."""
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str | None] = mapped_column(Text)
    facets: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    url: Mapped[str | None] = mapped_column(Text)
    """Where it is kept."""
    readers: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """The teams that may read it; None: whoever may read at all."""
    changed: Mapped[int | None] = mapped_column(TransactionId)
    """The transaction that changed it last: a trigger writes it. None of what was there before the trigger."""


class SearchIndex(Base):
    """What documents are found by: passages of one model, and terms of one analysis. One is live.

    Another may be built beside it. Each has a slot: the tables of its passages, and its part of the inverted index.
    """

    __tablename__ = "search_indexes"
    __table_args__ = (
        CheckConstraint("slot IN (0, 1)", name="slot"),
        CheckConstraint("state IN ('building', 'live', 'old')", name="state"),
        UniqueConstraint("slot"),
        UniqueConstraint("state"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[str] = mapped_column(Text)
    """`old`: it was live, and who has not heard that it is not any more may still ask it."""
    model: Mapped[str] = mapped_column(Text)
    """Name and version."""
    dimensions: Mapped[int] = mapped_column(Integer)
    analysis: Mapped[int] = mapped_column(Integer)
    """Version of the analysis that made the terms."""
    reached: Mapped[int] = mapped_column(Integer, server_default="0")
    """Documents up to this version were given to who builds."""
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    """Documents that were built in."""
    asked_by: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(db.timestamp(), server_default=sa.func.clock_timestamp())
    changed_at: Mapped[datetime] = mapped_column(db.timestamp(), server_default=sa.func.clock_timestamp())
    """Of the state, or of what is done."""


class Arrival(Base):
    """A document that was written, and is to be compared with others and with saved searches."""

    __tablename__ = "search_arrivals"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    document: Mapped[int] = mapped_column(BigInteger)
    rewritten: Mapped[bool] = mapped_column(Boolean)
    """Whether its text is another than before."""


class LeftAnswer(Base):
    """An answer that a process gave lately, for the others. `known` is a digest of what the index had then."""

    __tablename__ = "search_answers"
    __table_args__ = {"prefixes": ["UNLOGGED"]}

    key: Mapped[bytes] = mapped_column(BYTEA, primary_key=True)
    body: Mapped[bytes] = mapped_column(BYTEA)
    known: Mapped[bytes] = mapped_column(BYTEA)
    snapshot: Mapped[str] = mapped_column(Text)
    until: Mapped[datetime] = mapped_column(db.timestamp())


class SavedSearch(Base):
    """What a team wants to be told of."""

    __tablename__ = "search_saved"
    __table_args__ = (UniqueConstraint("team", "name"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    team: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Query, kinds and filter, as they were given."""
    since: Mapped[int] = mapped_column(Integer)
    """The newest text when it was saved: those after it are told."""
    created_at: Mapped[datetime] = mapped_column(db.timestamp())
    created_by: Mapped[str] = mapped_column(Text)


class SavedMatch(Base):
    """That a document was told."""

    __tablename__ = "search_saved_matches"
    __table_args__ = (Index("ix_search_saved_matches_document", "document"),)

    saved: Mapped[UUID] = mapped_column(Uuid, ForeignKey("search_saved.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("search_documents.id", ondelete="CASCADE"), primary_key=True
    )


class Feedback(Base):
    """What somebody did with a hit."""

    __tablename__ = "search_feedback"
    __table_args__ = (Index("ix_search_feedback_at", "at"),)

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    at: Mapped[datetime] = mapped_column(db.timestamp())
    actor: Mapped[str] = mapped_column(Text)
    query: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[UUID] = mapped_column(Uuid)
    action: Mapped[str] = mapped_column(Text)
    rank: Mapped[int | None] = mapped_column(Integer)


class SearchPassage:
    """A part of a document with its vector, and what a document is filtered by: no join stands in the index's way."""

    __tablename__: str

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            Index(f"ix_{cls.__tablename__}_document", "document"),
            *(
                Index(
                    f"ix_{cls.__tablename__}_{dimensions}",
                    sa.literal_column(f"(embedding::halfvec({dimensions}))").label("vector"),
                    postgresql_using="hnsw",
                    postgresql_ops={"vector": "halfvec_ip_ops"},
                    postgresql_with={"m": 24, "ef_construction": 128},
                    postgresql_where=sa.text(f"vector_dims(embedding) = {dimensions}"),
                )
                for dimensions in SIZES
            ),
            # Room on each page: a change of state alone then touches no index (a HOT update).
            {"postgresql_with": {"fillfactor": 85, "toast_tuple_target": 4080}},
        )

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    document: Mapped[int] = mapped_column(BigInteger, ForeignKey("search_documents.id", ondelete="CASCADE"))
    start: Mapped[int] = mapped_column(Integer)
    """In the body, in characters; `stop` is behind its last."""
    stop: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    team: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str | None] = mapped_column(Text)
    facets: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(db.timestamp())
    readers: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    model: Mapped[str] = mapped_column(Text)
    """Name and version of the model that made `embedding`."""
    embedding: Mapped[list[float]] = mapped_column(HALFVEC())
    """Of length 1: the inner product is the cosine."""


class FirstPassage(SearchPassage, Base):
    __tablename__ = "search_passages_0"


class SecondPassage(SearchPassage, Base):
    __tablename__ = "search_passages_1"


PASSAGES: tuple[type[FirstPassage], type[SecondPassage]] = (FirstPassage, SecondPassage)
"""By slot."""


class FreshPostings(Base):
    """The terms of a document that is in no run yet."""

    __tablename__ = "search_fresh"
    __table_args__ = (Index("ix_search_fresh_document", "document"),)

    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    document: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(Integer)
    terms: Mapped[bytes] = mapped_column(BYTEA)
    """int64 each, little-endian; `counts` are uint16."""
    counts: Mapped[bytes] = mapped_column(BYTEA)
    words: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """The terms as text, for the lexicon."""


class Run(Base):
    """An immutable part of the inverted index: its documents' versions and lengths, int32 each, little-endian."""

    __tablename__ = "search_runs"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger)
    level: Mapped[int] = mapped_column(SmallInteger)
    """Runs of a level become one of the next."""
    documents: Mapped[int] = mapped_column(Integer)
    versions: Mapped[bytes] = mapped_column(BYTEA)
    lengths: Mapped[bytes] = mapped_column(BYTEA)


class RunPostings(Base):
    """Which documents of a run hold a term, and how often: see `postings.scoring.pack`."""

    __tablename__ = "search_postings"
    __table_args__ = (Index("ix_search_postings_run_term", "run", "term"),)

    term: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    run: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    postings: Mapped[bytes] = mapped_column(BYTEA)


class Term(Base):
    """The lexicon: every term that a run has held, and in how many documents it is, about."""

    __tablename__ = "search_terms"
    __table_args__ = (
        Index("ix_search_terms_trigrams", "term", postgresql_using="gin", postgresql_ops={"term": "gin_trgm_ops"}),
        Index("ix_search_terms_prefix", "slot", "term", postgresql_ops={"term": "text_pattern_ops"}),
    )

    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    term: Mapped[str] = mapped_column(Text)
    documents: Mapped[int] = mapped_column(Integer)
