"""history, reviews and audit"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from plumbline_common import audit

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# What is there already becomes the first revision that is remembered.
FILL = (
    """
UPDATE requirements SET authors = ARRAY[authored_by],
    in_force = CASE WHEN status IN ('active', 'deprecated') THEN revision END,
    document = (document::jsonb || jsonb_build_object('reviewers', '[]'::jsonb, 'in_force',
        CASE WHEN status IN ('active', 'deprecated') THEN revision END))::text
""",
    """
INSERT INTO requirement_revisions (requirement_id, revision, at, actor, reason, status, changed, document)
    SELECT id, revision, updated_at, updated_by, '', status, '{}', (document::jsonb - 'verdict' - 'reviewers')::text
    FROM requirements
""",
    """
INSERT INTO requirement_count_deltas (change, status, type, priority, service, owner_team)
    SELECT 1, status, type, priority, service, owner_team FROM requirements
""",
)
GUARD = (
    """
CREATE FUNCTION requirement_revisions_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'revisions are never changed' USING ERRCODE = 'integrity_constraint_violation';
END $$
""",
    """
CREATE TRIGGER requirement_revisions_guard BEFORE UPDATE OR DELETE ON requirement_revisions
    FOR EACH ROW EXECUTE FUNCTION requirement_revisions_guard()
""",
)


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("position", name=op.f("uq_audit_entries_position")),
    )
    op.create_index("ix_audit_entries_actor_seq", "audit_entries", ["actor", "seq"], unique=False)
    op.create_index("ix_audit_entries_entity_id_seq", "audit_entries", ["entity_id", "seq"], unique=False)
    op.create_index(
        "ix_audit_entries_unsealed",
        "audit_entries",
        ["seq"],
        unique=False,
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("subject", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "requirement_count_deltas",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("change", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("owner_team", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_requirement_count_deltas")),
    )
    op.create_table(
        "requirement_counts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("grouping", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("priority", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("owner_team", sa.Text(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requirement_counts")),
        sa.UniqueConstraint(
            "grouping",
            "status",
            "type",
            "priority",
            "service",
            "owner_team",
            name=op.f("uq_requirement_counts_grouping_status_type_priority_service_owner_team"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "requirement_revisions",
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("changed", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("requirement_id", "revision", name=op.f("pk_requirement_revisions")),
    )
    op.create_table(
        "review_policies",
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("required_approvals", sa.SmallInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("team", name=op.f("pk_review_policies")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_requirement_id_id", "reviews", ["requirement_id", "id"], unique=False)
    op.create_index(
        "uq_reviews_decision",
        "reviews",
        ["requirement_id", "revision", "reviewer"],
        unique=True,
        postgresql_where=sa.text("decision <> 'comment'"),
    )
    op.add_column("requirements", sa.Column("authors", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("requirements", sa.Column("in_force", sa.Integer(), nullable=True))
    op.add_column("requirements", sa.Column("reviewers", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.drop_index(op.f("ix_requirements_owner_team"), table_name="requirements")
    op.drop_index(op.f("ix_requirements_service"), table_name="requirements")
    op.drop_index(op.f("ix_requirements_status"), table_name="requirements")
    for name in ("service", "owner_team"):
        op.create_index(f"ix_requirements_{name}_status_id", "requirements", [name, "status", "id"], unique=False)
    op.create_index(
        "ix_requirements_created_at", "requirements", ["created_at"], unique=False, postgresql_using="brin"
    )
    op.create_index(
        "ix_requirements_labels",
        "requirements",
        ["labels"],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index("ix_requirements_owner_team_id", "requirements", ["owner_team", "id"], unique=False)
    op.create_index(
        "ix_requirements_reviewers",
        "requirements",
        ["reviewers"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("status = 'in_review'"),
    )
    op.create_index("ix_requirements_service_id", "requirements", ["service", "id"], unique=False)
    op.create_index("ix_requirements_status_id", "requirements", ["status", "id"], unique=False)
    op.create_index(
        "ix_requirements_title_words",
        "requirements",
        [sa.literal_column("to_tsvector('simple', title)")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index("ix_requirements_updated_at_id", "requirements", ["updated_at", "id"], unique=False)
    for statement in FILL:
        op.execute(statement)
    op.alter_column("requirements", "authors", server_default=None)
    op.drop_column("requirements", "authored_by")
    for statement in (*audit.GUARD, *GUARD):
        op.execute(statement)


def downgrade() -> None:
    op.add_column("requirements", sa.Column("authored_by", sa.String(), server_default="", nullable=False))
    op.execute("UPDATE requirements SET authored_by = coalesce(authors[1], updated_by)")
    op.alter_column("requirements", "authored_by", server_default=None)
    op.drop_index("ix_requirements_updated_at_id", table_name="requirements")
    op.drop_index("ix_requirements_title_words", table_name="requirements", postgresql_using="gin")
    op.drop_index("ix_requirements_status_id", table_name="requirements")
    op.drop_index("ix_requirements_service_id", table_name="requirements")
    op.drop_index(
        "ix_requirements_reviewers",
        table_name="requirements",
        postgresql_using="gin",
        postgresql_where=sa.text("status = 'in_review'"),
    )
    op.drop_index("ix_requirements_owner_team_id", table_name="requirements")
    for name in ("service", "owner_team"):
        op.drop_index(f"ix_requirements_{name}_status_id", table_name="requirements")
    op.drop_index("ix_requirements_created_at", table_name="requirements", postgresql_using="brin")
    op.drop_index(
        "ix_requirements_labels",
        table_name="requirements",
        postgresql_using="gin",
    )
    op.create_index(op.f("ix_requirements_status"), "requirements", ["status"], unique=False)
    op.create_index(op.f("ix_requirements_service"), "requirements", ["service"], unique=False)
    op.create_index(op.f("ix_requirements_owner_team"), "requirements", ["owner_team"], unique=False)
    op.drop_column("requirements", "reviewers")
    op.drop_column("requirements", "in_force")
    op.drop_column("requirements", "authors")
    op.drop_index("uq_reviews_decision", table_name="reviews", postgresql_where=sa.text("decision <> 'comment'"))
    op.drop_index("ix_reviews_requirement_id_id", table_name="reviews")
    op.drop_table("reviews")
    op.drop_table("review_policies")
    op.drop_table("requirement_revisions")
    op.execute("DROP FUNCTION requirement_revisions_guard, audit_entries_guard CASCADE")
    op.drop_table("requirement_counts")
    op.drop_table("requirement_count_deltas")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(
        "ix_audit_entries_unsealed", table_name="audit_entries", postgresql_where=sa.text("position IS NULL")
    )
    op.drop_index("ix_audit_entries_entity_id_seq", table_name="audit_entries")
    op.drop_index("ix_audit_entries_actor_seq", table_name="audit_entries")
    op.drop_table("audit_entries")
