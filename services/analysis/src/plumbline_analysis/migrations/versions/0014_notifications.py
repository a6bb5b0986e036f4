"""notification targets, what they know and are told, and silences"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def _target(table: str) -> tuple[sa.Column[UUID], sa.ForeignKeyConstraint]:
    name = f"fk_{table}_target_id_notification_targets"
    reference = sa.ForeignKeyConstraint(["target_id"], ["notification_targets.id"], name=name, ondelete="CASCADE")
    return sa.Column("target_id", sa.Uuid(), nullable=False), reference


def upgrade() -> None:
    moment = postgresql.TIMESTAMP(timezone=True)
    json = postgresql.JSONB(astext_type=sa.Text())
    op.create_table(
        "notification_targets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("content", json, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notification_targets"),
        sa.UniqueConstraint("name", name="uq_notification_targets_name"),
    )
    op.create_table(
        "notification_alerts",
        *_target("notification_alerts"),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("requirement_id", sa.Uuid(), nullable=True),
        sa.Column("alert", json, nullable=False),
        sa.Column("firing", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("told_version", sa.Integer(), nullable=False),
        sa.Column("told_firing", sa.Boolean(), nullable=False),
        sa.Column("silenced", sa.Boolean(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("target_id", "fingerprint", name="pk_notification_alerts"),
    )
    op.create_index("ix_notification_alerts_target_id_group_key", "notification_alerts", ["target_id", "group_key"])
    op.create_index("ix_notification_alerts_fingerprint", "notification_alerts", ["fingerprint"])
    op.create_table(
        "notification_groups",
        *_target("notification_groups"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("labels", json, nullable=False),
        sa.Column("flush_at", moment, nullable=True),
        sa.Column("told_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("target_id", "key", name="pk_notification_groups"),
    )
    op.create_index("ix_notification_groups_flush_at", "notification_groups", ["flush_at"])
    op.create_table(
        "notification_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        *_target("notification_deliveries"),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try", moment, nullable=True),
        sa.Column("leased_until", moment, nullable=True),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notification_deliveries"),
    )
    op.create_index(
        "ix_notification_deliveries_target_id_id",
        "notification_deliveries",
        ["target_id", sa.literal_column("id DESC")],
    )
    op.create_index(
        "ix_notification_deliveries_pending",
        "notification_deliveries",
        ["target_id", "group_key"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "notification_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_notification_cursor_single"),
        sa.PrimaryKeyConstraint("id", name="pk_notification_cursor"),
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("matchers", json, nullable=False),
        sa.Column("starts_at", moment, nullable=False),
        sa.Column("ends_at", moment, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])


def downgrade() -> None:
    tables = ("silences", "notification_cursor", "notification_deliveries", "notification_groups")
    for table in (*tables, "notification_alerts", "notification_targets"):
        op.drop_table(table)
