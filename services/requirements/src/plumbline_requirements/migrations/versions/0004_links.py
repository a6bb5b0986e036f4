"""links, and what the rendered documents tell of them"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Reads put the number of suspect links into the end of a document: every document has to have it there.
DOCUMENTS = r"""
UPDATE requirements SET document = left(document, -1) || ',"warnings"\:[],"suspect_links"\:0}'
WHERE document NOT LIKE '%"suspect_links"\:0}'
"""


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("reviewed_fingerprint", sa.Text(), nullable=False),
        sa.Column("reviewed_revision", sa.Integer(), nullable=False),
        sa.Column("suspect_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_links")),
    )
    op.create_index("uq_links_ends", "links", ["source_id", "target_id", "type"], unique=True)
    op.create_index("ix_links_target_id", "links", ["target_id", "type", "source_id"])
    op.create_index("ix_links_suspect", "links", ["source_id"], postgresql_where=sa.text("suspect_since IS NOT NULL"))
    op.execute(DOCUMENTS)


def downgrade() -> None:
    op.drop_table("links")
