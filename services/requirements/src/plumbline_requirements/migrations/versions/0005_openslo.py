"""OpenSLO's shared objects, and the ways from the name of an SLO or an SLI to the requirements that pin it"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "openslo_objects",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_openslo_objects")),
    )
    op.create_index(
        "ix_requirements_slo_names",
        "requirements",
        [sa.text("jsonb_path_query_array(slos, '$[*].name')")],
        postgresql_using="gin",
        postgresql_where=sa.text("slos <> '[]'::jsonb"),
    )
    op.create_index(
        "ix_requirements_sli_names",
        "requirements",
        [sa.text("jsonb_path_query_array(slos, '$.**.indicatorRef')")],
        postgresql_using="gin",
        postgresql_where=sa.text("jsonb_path_exists(slos, '$.**.indicatorRef')"),
    )


def downgrade() -> None:
    op.drop_index("ix_requirements_sli_names")
    op.drop_index("ix_requirements_slo_names")
    op.drop_table("openslo_objects")
