"""watch what is in force while a change of it is drafted"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "watched_requirements", sa.Column("head_revision", sa.Integer(), server_default="0", nullable=False)
    )
    op.execute("UPDATE watched_requirements SET head_revision = revision")
    op.alter_column("watched_requirements", "head_revision", server_default=None)


def downgrade() -> None:
    op.drop_column("watched_requirements", "head_revision")
