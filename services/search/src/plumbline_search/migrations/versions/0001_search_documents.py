"""The documents that are searched, and the outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, TSVECTOR

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column(
            "processed_at",
            TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("consumer", "producer", "position", name="pk_inbox"),
    )
    op.create_table(
        "inbox_progress",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("consumer", "producer", name="pk_inbox_progress"),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), server_default="{}", nullable=False),
        sa.Column(
            "created_at", TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sa.UniqueConstraint("position", name="uq_outbox_position"),
    )
    op.create_index("ix_outbox_unsequenced", "outbox", ["seq"], postgresql_where=sa.text("position IS NULL"))
    op.create_table(
        "outbox_producer",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sequenced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("published", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_outbox_producer"),
    )
    op.create_table(
        "search_documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("facets", JSONB(), nullable=False),
        sa.Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("embedding", HALFVEC(384), nullable=True),
        sa.Column(
            "words",
            TSVECTOR(),
            sa.Computed(
                "setweight(to_tsvector('english', coalesce(key, '') || ' ' || title), 'A')"
                " || setweight(to_tsvector('english', body), 'B')",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('requirement', 'anomaly', 'incident', 'runbook', 'postmortem', 'log_template')",
            name="ck_search_documents_kind",
        ),
        sa.CheckConstraint(
            "NOT deleted OR (title = '' AND body = '' AND embedding IS NULL)",
            name="ck_search_documents_tombstone",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_search_documents"),
        sa.UniqueConstraint("kind", "entity_id", name="uq_search_documents_kind_entity_id"),
        # Room on each page and words in the row: a change of state alone then touches no index (a HOT update).
        postgresql_with={"fillfactor": 85, "toast_tuple_target": 4080},
    )
    # In the row itself: an exact scan then reads each page once and no TOAST.
    op.execute("ALTER TABLE search_documents ALTER COLUMN embedding SET STORAGE PLAIN")
    op.create_index(
        "ix_search_documents_embedding",
        "search_documents",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )
    op.create_index("ix_search_documents_service", "search_documents", ["service"])
    op.create_index("ix_search_documents_team", "search_documents", ["team"])
    op.create_index(
        "ix_search_documents_words",
        "search_documents",
        ["words"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    for table in ("search_documents", "outbox_producer", "outbox", "inbox_progress", "inbox"):
        op.drop_table(table)
