"""Arrivals, saved searches and feedback"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "search_arrivals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document", sa.BigInteger(), nullable=False),
        sa.Column("rewritten", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_arrivals"),
    )
    op.create_table(
        "search_saved",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("request", JSONB(), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_saved"),
        sa.UniqueConstraint("team", "name", name="uq_search_saved_team_name"),
    )
    op.create_table(
        "search_saved_matches",
        sa.Column("saved", sa.Uuid(), nullable=False),
        sa.Column("document", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["saved"], ["search_saved.id"], name="fk_search_saved_matches_saved_search_saved", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["document"],
            ["search_documents.id"],
            name="fk_search_saved_matches_document_search_documents",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("saved", "document", name="pk_search_saved_matches"),
    )
    op.create_index("ix_search_saved_matches_document", "search_saved_matches", ["document"])
    op.create_table(
        "search_feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", TIMESTAMP(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_search_feedback"),
    )
    op.create_index("ix_search_feedback_at", "search_feedback", ["at"])


def downgrade() -> None:
    for table in ("search_feedback", "search_saved_matches", "search_saved", "search_arrivals"):
        op.drop_table(table)
