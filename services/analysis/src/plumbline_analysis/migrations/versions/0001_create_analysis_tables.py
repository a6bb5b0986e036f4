"""Signals, points, what is watched, anomalies and verdicts; the outbox and the inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anomalies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("signal_id", sa.Uuid(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("aggregation", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=True),
        sa.Column("requirement_revision", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("onset", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("end", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("peak_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("peak_score", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=False),
        sa.Column("lower", sa.Double(), nullable=False),
        sa.Column("upper", sa.Double(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_anomalies"),
    )
    op.create_index(
        "ix_anomalies_onset",
        "anomalies",
        [sa.literal_column("onset DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_anomalies_requirement_id_onset",
        "anomalies",
        ["requirement_id", sa.literal_column("onset DESC")],
        unique=False,
    )
    op.create_index("ix_anomalies_service", "anomalies", ["service"], unique=False)
    op.create_index(
        "uq_anomalies_open", "anomalies", ["signal_id"], unique=True, postgresql_where=sa.text('"end" IS NULL')
    )
    op.create_table(
        "bucket_layouts",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("bounds", postgresql.ARRAY(sa.Double()), nullable=False),
        sa.Column("scale", sa.SmallInteger(), nullable=True),
        sa.Column("zero_threshold", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bucket_layouts"),
        sa.UniqueConstraint("identity", name="uq_bucket_layouts_identity"),
    )
    op.create_table(
        "current_verdicts",
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("evaluated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("verdict", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("requirement_id", name="pk_current_verdicts"),
    )
    op.create_table(
        "detections",
        sa.Column("signal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=True),
        sa.Column("lower", sa.Double(), nullable=True),
        sa.Column("upper", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("signal", "ts", name="pk_detections"),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_table(
        "detectors",
        sa.Column("signal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("slo", sa.Text(), nullable=False),
        sa.Column("watching_since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("evaluated_to", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("alarm", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("signal", name="pk_detectors"),
    )
    op.create_index("ix_detectors_requirement_id", "detectors", ["requirement_id"], unique=False)
    op.create_table(
        "evaluator_lease",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_evaluator_lease_single"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluator_lease"),
    )
    op.create_table(
        "histogram_points",
        sa.Column("signal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("start_ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sum", sa.Double(), nullable=False),
        sa.Column("min", sa.Double(), nullable=False),
        sa.Column("max", sa.Double(), nullable=False),
        sa.Column("layout", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("zero_count", sa.BigInteger(), nullable=False),
        sa.Column("negative_position", sa.Integer(), nullable=False),
        sa.Column("counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("negative_counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("signal", "ts", name="pk_histogram_points"),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column(
            "processed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("consumer", "producer", "position", name="pk_inbox"),
    )
    op.create_table(
        "inbox_progress",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("consumer", "producer", name="pk_inbox_progress"),
    )
    op.create_table(
        "number_points",
        sa.Column("signal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("start_ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("signal", "ts", name="pk_number_points"),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_table(
        "objective_slices",
        sa.Column("objective", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("good", sa.Double(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("objective", "ts", name="pk_objective_slices"),
    )
    op.create_table(
        "objectives",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("slo", sa.Text(), nullable=False),
        sa.Column("objective", sa.SmallInteger(), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("evaluated_to", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_point", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("standing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_objectives"),
        sa.UniqueConstraint("requirement_id", "slo", "objective", name="uq_objectives_requirement_id_slo_objective"),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), server_default="{}", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sa.UniqueConstraint("position", name="uq_outbox_position"),
    )
    op.create_index(
        "ix_outbox_unsequenced", "outbox", ["seq"], unique=False, postgresql_where=sa.text("position IS NULL")
    )
    op.create_table(
        "outbox_producer",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sequenced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("published", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_outbox_producer"),
    )
    op.create_table(
        "signals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("temporality", sa.Text(), nullable=False),
        sa.Column("monotonic", sa.Boolean(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("resource", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=True),
        sa.Column("slo", sa.Text(), nullable=True),
        sa.Column("aggregation", sa.Text(), nullable=True),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signals"),
        sa.UniqueConstraint("identity", name="uq_signals_identity"),
        sa.UniqueConstraint("number", name="uq_signals_number"),
    )
    op.create_index(
        "ix_signals_attributes",
        "signals",
        ["attributes"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )
    op.create_index("ix_signals_metric_number", "signals", ["metric", "number"], unique=False)
    op.create_index("ix_signals_requirement_id", "signals", ["requirement_id"], unique=False)
    op.create_index("ix_signals_service", "signals", ["service"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("verdict", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
    )
    op.create_index(
        "ix_verdicts_requirement_id_changed_at",
        "verdicts",
        ["requirement_id", sa.literal_column("changed_at DESC")],
        unique=False,
    )
    op.create_table(
        "watched_requirements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("deleted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("owner_team", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("slos", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_watched_requirements"),
    )
    op.create_index("ix_watched_requirements_in_force", "watched_requirements", ["in_force"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_watched_requirements_in_force", table_name="watched_requirements")
    op.drop_table("watched_requirements")
    op.drop_index("ix_verdicts_requirement_id_changed_at", table_name="verdicts")
    op.drop_table("verdicts")
    op.drop_index("ix_signals_service", table_name="signals")
    op.drop_index("ix_signals_requirement_id", table_name="signals")
    op.drop_index("ix_signals_metric_number", table_name="signals")
    op.drop_index(
        "ix_signals_attributes",
        table_name="signals",
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )
    op.drop_table("signals")
    op.drop_table("outbox_producer")
    op.drop_index("ix_outbox_unsequenced", table_name="outbox", postgresql_where=sa.text("position IS NULL"))
    op.drop_table("outbox")
    op.drop_table("objectives")
    op.drop_table("objective_slices")
    op.drop_table("number_points")
    op.drop_table("inbox_progress")
    op.drop_table("inbox")
    op.drop_table("histogram_points")
    op.drop_table("evaluator_lease")
    op.drop_index("ix_detectors_requirement_id", table_name="detectors")
    op.drop_table("detectors")
    op.drop_table("detections")
    op.drop_table("current_verdicts")
    op.drop_table("bucket_layouts")
    op.drop_index("uq_anomalies_open", table_name="anomalies", postgresql_where=sa.text('"end" IS NULL'))
    op.drop_index("ix_anomalies_service", table_name="anomalies")
    op.drop_index("ix_anomalies_requirement_id_onset", table_name="anomalies")
    op.drop_index("ix_anomalies_onset", table_name="anomalies")
    op.drop_table("anomalies")
