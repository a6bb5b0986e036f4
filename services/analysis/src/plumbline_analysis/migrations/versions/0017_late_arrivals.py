"""notes of points that come late"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "late_arrivals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("oldest", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("signals", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_late_arrivals"),
    )


def downgrade() -> None:
    op.drop_table("late_arrivals")
