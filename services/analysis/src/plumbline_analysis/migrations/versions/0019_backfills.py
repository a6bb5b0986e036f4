"""backfills: checkpoints of jobs, and what was found in history"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("checkpoint", sa.LargeBinary(), nullable=True))
    op.add_column("detectors", sa.Column("backfilled_from", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("anomalies", sa.Column("backfill_job_id", sa.Uuid(), nullable=True))
    op.drop_index("ix_anomalies_ungrouped", table_name="anomalies")
    op.create_index(
        "ix_anomalies_ungrouped",
        "anomalies",
        ["onset", "id"],
        postgresql_where=sa.text("grouped_revision IS DISTINCT FROM revision AND backfill_job_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_anomalies_ungrouped", table_name="anomalies")
    op.create_index(
        "ix_anomalies_ungrouped",
        "anomalies",
        ["onset", "id"],
        postgresql_where=sa.text("grouped_revision IS DISTINCT FROM revision"),
    )
    op.drop_column("anomalies", "backfill_job_id")
    op.drop_column("detectors", "backfilled_from")
    op.drop_column("jobs", "checkpoint")
