"""log lines, their templates, and anomalies of logs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_streams",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_log_streams"),
        sa.UniqueConstraint("service", name="uq_log_streams_service"),
    )
    op.create_table(
        "log_lines",
        sa.Column("stream", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("severity", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("stream", "position", "ts", name="pk_log_lines"),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_table(
        "log_exports",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "received_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_log_exports"),
    )
    op.create_index("ix_log_exports_received_at", "log_exports", ["received_at"], unique=False)
    op.create_table(
        "log_watches",
        sa.Column("stream", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("asleep", sa.Boolean(), nullable=False),
        sa.Column("miner", sa.LargeBinary(), nullable=False),
        sa.Column("watch", sa.LargeBinary(), nullable=False),
        sa.Column("pending", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_log_watches"),
    )
    op.create_table(
        "log_templates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("examples", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("told_count", sa.BigInteger(), nullable=False),
        sa.Column("news", sa.Boolean(), nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_log_templates"),
        sa.UniqueConstraint("stream", "number", name="uq_log_templates_stream_number"),
    )
    op.create_index("ix_log_templates_news", "log_templates", ["stream"], postgresql_where=sa.text("news"))
    op.create_index("ix_log_templates_service_last_seen", "log_templates", ["service", "last_seen"], unique=False)
    op.add_column("anomalies", sa.Column("log", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index(
        "ix_anomalies_open_log",
        "anomalies",
        ["service"],
        postgresql_where=sa.text('"end" IS NULL AND log IS NOT NULL'),
    )


def downgrade() -> None:
    op.drop_index("ix_anomalies_open_log", table_name="anomalies")
    op.drop_column("anomalies", "log")
    for table in ("log_templates", "log_watches", "log_exports", "log_lines", "log_streams"):
        op.drop_table(table)
