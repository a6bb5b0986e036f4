"""An inverted index for BM25, and documents in passages"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("search_versions", data_type=sa.Integer())))
    op.create_table(
        "search_fresh",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("terms", BYTEA(), nullable=False),
        sa.Column("counts", BYTEA(), nullable=False),
        sa.Column("words", ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_search_fresh"),
    )
    op.create_index("ix_search_fresh_document", "search_fresh", ["document"])
    op.create_table(
        "search_runs",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("versions", BYTEA(), nullable=False),
        sa.Column("lengths", BYTEA(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_runs"),
    )
    op.create_table(
        "search_postings",
        sa.Column("term", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("postings", BYTEA(), nullable=False),
        sa.PrimaryKeyConstraint("term", "run", name="pk_search_postings"),
    )
    op.create_index("ix_search_postings_run_term", "search_postings", ["run", "term"])
    # Numbers of documents hardly compress, and to unpack them would cost each query more than to read them.
    for table, column in (("search_postings", "postings"), ("search_runs", "versions"), ("search_runs", "lengths")):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    op.create_table(
        "search_terms",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_terms"),
    )
    op.create_index(
        "ix_search_terms_trigrams",
        "search_terms",
        ["term"],
        postgresql_using="gin",
        postgresql_ops={"term": "gin_trgm_ops"},
    )
    op.create_index("ix_search_terms_prefix", "search_terms", ["term"], postgresql_ops={"term": "text_pattern_ops"})
    op.create_table(
        "search_passages",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("document", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("facets", JSONB(), nullable=False),
        sa.Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("readers", ARRAY(sa.Text()), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(384), nullable=False),
        sa.ForeignKeyConstraint(
            ["document"],
            ["search_documents.id"],
            name="fk_search_passages_document_search_documents",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("version", "place", name="pk_search_passages"),
        # Room on each page and vectors in the row: a change of state alone then touches no index (a HOT update).
        postgresql_with={"fillfactor": 85, "toast_tuple_target": 4080},
    )
    op.execute("ALTER TABLE search_passages ALTER COLUMN embedding SET STORAGE PLAIN")
    op.add_column(
        "search_documents",
        sa.Column("version", sa.Integer(), server_default=sa.text("nextval('search_versions')"), nullable=False),
    )
    for column in ("external_id", "url"):
        op.add_column("search_documents", sa.Column(column, sa.Text(), nullable=True))
    op.add_column("search_documents", sa.Column("readers", ARRAY(sa.Text()), nullable=True))
    # No analysis has this name: the service indexes these anew. Until then they are found by their meaning.
    op.add_column("search_documents", sa.Column("indexed", sa.Text(), server_default="", nullable=False))
    op.alter_column("search_documents", "indexed", server_default=None)
    op.execute(
        "INSERT INTO search_passages (version, place, document, start, stop, kind, service, team, state, facets,"
        " updated_at, model, embedding) SELECT version, 0, id, 0, length(body), kind, service, team, state, facets,"
        " updated_at, model, embedding FROM search_documents WHERE NOT deleted AND embedding IS NOT NULL"
    )
    op.create_index("ix_search_passages_document", "search_passages", ["document"])
    op.create_index(
        "ix_search_passages_embedding",
        "search_passages",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_with={"m": 24, "ef_construction": 128},
    )
    op.drop_index("ix_search_documents_embedding", "search_documents")
    op.drop_index("ix_search_documents_words", "search_documents")
    op.drop_constraint(op.f("ck_search_documents_ck_search_documents_tombstone"), "search_documents")
    for column in ("words", "embedding", "model"):
        op.drop_column("search_documents", column)
    op.create_check_constraint(
        op.f("ck_search_documents_tombstone"), "search_documents", "NOT deleted OR (title = '' AND body = '')"
    )
    op.create_index(
        "ix_search_documents_version",
        "search_documents",
        ["version"],
        unique=True,
        postgresql_where=sa.text("NOT deleted"),
    )
    op.create_index("ix_search_documents_kind_state", "search_documents", ["kind", "state"])
    op.create_index("ix_search_documents_updated_at", "search_documents", ["updated_at"])
    op.create_index(
        "ix_search_documents_indexed", "search_documents", ["indexed"], postgresql_where=sa.text("NOT deleted")
    )
    op.create_index(
        "ix_search_documents_facets",
        "search_documents",
        ["facets"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    for index in ("version", "kind_state", "updated_at", "indexed", "facets"):
        op.drop_index(f"ix_search_documents_{index}", "search_documents")
    op.drop_constraint(op.f("ck_search_documents_tombstone"), "search_documents")
    op.execute(
        "ALTER TABLE search_documents ADD COLUMN model text, ADD COLUMN embedding halfvec(384),"
        " ALTER COLUMN embedding SET STORAGE PLAIN,"
        " ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS ("
        "  setweight(to_tsvector('english', coalesce(key, '') || ' ' || title), 'A')"
        "  || setweight(to_tsvector('english', body), 'B')) STORED"
    )
    op.execute(
        "UPDATE search_documents d SET model = p.model, embedding = p.embedding FROM search_passages p"
        " WHERE p.document = d.id AND p.place = 0"
    )
    op.create_check_constraint(
        op.f("ck_search_documents_ck_search_documents_tombstone"),
        "search_documents",
        "NOT deleted OR (title = '' AND body = '' AND embedding IS NULL)",
    )
    op.create_index(
        "ix_search_documents_embedding",
        "search_documents",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )
    op.create_index(
        "ix_search_documents_words",
        "search_documents",
        ["words"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    for table in ("search_passages", "search_terms", "search_postings", "search_runs", "search_fresh"):
        op.drop_table(table)
    for column in ("version", "indexed", "external_id", "url", "readers"):
        op.drop_column("search_documents", column)
    op.execute("DROP SEQUENCE search_versions")
