"""deployments, labels of anomalies, revisions of detectors, and answers to repeated requests"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
        sa.PrimaryKeyConstraint("subject", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "deployments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("deployed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sa.UniqueConstraint("service", "external_id", name="uq_deployments_service_external_id"),
    )
    op.create_index(
        "ix_deployments_service_deployed_at", "deployments", ["service", sa.literal_column("deployed_at DESC")]
    )
    op.create_index(
        "ix_deployments_deployed_at",
        "deployments",
        [sa.literal_column("deployed_at DESC"), sa.literal_column("id DESC")],
    )

    op.add_column("anomalies", sa.Column("acknowledged_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("anomalies", sa.Column("acknowledged_by", sa.Text(), nullable=True))
    op.add_column("anomalies", sa.Column("label", sa.Text(), nullable=True))
    op.create_index(
        "ix_anomalies_labelled", "anomalies", ["signal_id", "onset"], postgresql_where=sa.text("label IS NOT NULL")
    )
    op.create_table(
        "anomaly_labels",
        sa.Column("anomaly_id", sa.Uuid(), nullable=False),
        sa.Column("labelled_by", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("labelled_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("anomaly_id", "labelled_by", name="pk_anomaly_labels"),
    )
    op.create_table(
        "detector_revisions",
        sa.Column("signal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("bar", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effect", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("applied_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("signal", "revision", name="pk_detector_revisions"),
    )


def downgrade() -> None:
    op.drop_table("detector_revisions")
    op.drop_table("anomaly_labels")
    op.drop_index("ix_anomalies_labelled", table_name="anomalies")
    op.drop_column("anomalies", "label")
    op.drop_column("anomalies", "acknowledged_by")
    op.drop_column("anomalies", "acknowledged_at")
    op.drop_table("deployments")
    op.drop_table("idempotency_keys")
