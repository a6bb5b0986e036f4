"""Indexes side by side: another model or analysis is built beside the live one"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MODEL = "all-minilm-l6-v2-int8@1"
_ANALYSIS = 1
_DIMENSIONS = (256, 384, 512, 768, 1024, 1536, 2048, 3072)
_ROOM = "(fillfactor = 85, toast_tuple_target = 4080)"


def upgrade() -> None:
    op.create_table(
        "search_indexes",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("analysis", sa.Integer(), nullable=False),
        sa.Column("reached", sa.Integer(), server_default="0", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        *(
            sa.Column(name, TIMESTAMP(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False)
            for name in ("asked_at", "changed_at")
        ),
        sa.CheckConstraint("slot IN (0, 1)", name=op.f("ck_search_indexes_slot")),
        sa.CheckConstraint("state IN ('building', 'live', 'old')", name=op.f("ck_search_indexes_state")),
        sa.PrimaryKeyConstraint("id", name="pk_search_indexes"),
        sa.UniqueConstraint("slot", name="uq_search_indexes_slot"),
        sa.UniqueConstraint("state", name="uq_search_indexes_state"),
    )
    op.execute(
        "INSERT INTO search_indexes (slot, state, model, dimensions, analysis, asked_by)"
        f" VALUES (0, 'live', '{_MODEL}', 384, {_ANALYSIS}, 'migration')"
    )
    op.drop_index("ix_search_passages_embedding", "search_passages")
    op.rename_table("search_passages", "search_passages_0")
    for part in ("pk_search_passages", "ix_search_passages_document"):
        op.execute(f"ALTER INDEX {part} RENAME TO {part.replace('passages', 'passages_0')}")
    op.execute(
        "ALTER TABLE search_passages_0 RENAME CONSTRAINT fk_search_passages_document_search_documents"
        " TO fk_search_passages_0_document_search_documents"
    )
    # What is indexed as nothing that is known is missing from the live index, and put into it by the service.
    op.execute(
        f"DELETE FROM search_passages_0 WHERE model <> '{_MODEL}' OR document IN"
        f" (SELECT id FROM search_documents WHERE indexed <> '{_MODEL}+terms@{_ANALYSIS}')"
    )
    op.execute("ALTER TABLE search_passages_0 ALTER COLUMN embedding TYPE halfvec")
    op.execute(f"CREATE TABLE search_passages_1 (LIKE search_passages_0 INCLUDING STORAGE) WITH {_ROOM}")
    op.create_primary_key("pk_search_passages_1", "search_passages_1", ["version", "place"])
    op.create_foreign_key(
        "fk_search_passages_1_document_search_documents",
        "search_passages_1",
        "search_documents",
        ["document"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_index("ix_search_passages_1_document", "search_passages_1", ["document"])
    for table in ("search_passages_0", "search_passages_1"):
        for dimensions in _DIMENSIONS:
            op.execute(
                f"CREATE INDEX ix_{table}_{dimensions} ON {table} USING hnsw"
                f" ((embedding\\:\\:halfvec({dimensions})) halfvec_ip_ops) WITH (m = 24, ef_construction = 128)"
                f" WHERE vector_dims(embedding) = {dimensions}"
            )
    op.drop_index("ix_search_documents_indexed", "search_documents")
    op.drop_column("search_documents", "indexed")
    for table in ("search_fresh", "search_runs", "search_terms"):
        op.add_column(table, sa.Column("slot", sa.SmallInteger(), server_default="0", nullable=False))
        op.alter_column(table, "slot", server_default=None)
    for table, key in (("search_fresh", "version"), ("search_terms", "id")):
        op.drop_constraint(f"pk_{table}", table)
        op.create_primary_key(f"pk_{table}", table, ["slot", key])
    op.drop_index("ix_search_terms_prefix", "search_terms")
    op.create_index(
        "ix_search_terms_prefix", "search_terms", ["slot", "term"], postgresql_ops={"term": "text_pattern_ops"}
    )


def downgrade() -> None:
    """Of the live index where it is of this model; of another, documents are indexed anew."""
    live = "(SELECT slot FROM search_indexes)"
    for statement in (
        "DELETE FROM search_indexes WHERE state <> 'live'",
        f"DELETE FROM search_fresh WHERE slot <> {live}",
        f"DELETE FROM search_terms WHERE slot <> {live}",
        f"DELETE FROM search_postings WHERE run IN (SELECT id FROM search_runs WHERE slot <> {live})",
        f"DELETE FROM search_runs WHERE slot <> {live}",
        f"DELETE FROM search_passages_0 WHERE 0 <> {live}",
        f"INSERT INTO search_passages_0 SELECT * FROM search_passages_1 WHERE 1 = {live}",
    ):
        op.execute(statement)
    op.execute(f"DELETE FROM search_passages_0 WHERE model <> '{_MODEL}'")
    op.drop_index("ix_search_terms_prefix", "search_terms")
    op.create_index("ix_search_terms_prefix", "search_terms", ["term"], postgresql_ops={"term": "text_pattern_ops"})
    for table, key in (("search_fresh", "version"), ("search_terms", "id")):
        op.drop_constraint(f"pk_{table}", table)
        op.create_primary_key(f"pk_{table}", table, [key])
    for table in ("search_fresh", "search_runs", "search_terms"):
        op.drop_column(table, "slot")
    op.add_column("search_documents", sa.Column("indexed", sa.Text(), server_default="", nullable=False))
    op.alter_column("search_documents", "indexed", server_default=None)
    op.execute(
        f"UPDATE search_documents d SET indexed = '{_MODEL}+terms@{_ANALYSIS}'"
        " WHERE EXISTS (SELECT 1 FROM search_passages_0 p WHERE p.version = d.version)"
    )
    op.create_index(
        "ix_search_documents_indexed", "search_documents", ["indexed"], postgresql_where=sa.text("NOT deleted")
    )
    op.drop_table("search_passages_1")
    for dimensions in _DIMENSIONS:
        op.drop_index(f"ix_search_passages_0_{dimensions}", "search_passages_0")
    op.execute("ALTER TABLE search_passages_0 ALTER COLUMN embedding TYPE halfvec(384)")
    op.rename_table("search_passages_0", "search_passages")
    for part in ("pk_search_passages", "ix_search_passages_document"):
        op.execute(f"ALTER INDEX {part.replace('passages', 'passages_0')} RENAME TO {part}")
    op.execute(
        "ALTER TABLE search_passages RENAME CONSTRAINT fk_search_passages_0_document_search_documents"
        " TO fk_search_passages_document_search_documents"
    )
    op.create_index(
        "ix_search_passages_embedding",
        "search_passages",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_with={"m": 24, "ef_construction": 128},
    )
    op.drop_table("search_indexes")
