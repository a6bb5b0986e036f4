"""rollups of one minute and one hour"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STEPS = ("1m", "1h")


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=False)


def upgrade() -> None:
    for step in _STEPS:
        op.create_table(
            f"number_rollups_{step}",
            _whole("signal"),
            _time("ts"),
            _whole("count"),
            *[_number(name) for name in ("sum", "min", "max", "last")],
            _time("last_ts"),
            _number("change"),
            _number("seconds"),
            sa.PrimaryKeyConstraint("signal", "ts", name=f"pk_number_rollups_{step}"),
            postgresql_partition_by="RANGE (ts)",
        )
        op.create_table(
            f"histogram_rollups_{step}",
            _whole("signal"),
            _time("ts"),
            sa.Column("layout", sa.Integer(), autoincrement=False, nullable=False),
            _whole("count"),
            _number("sum"),
            _whole("change"),
            _number("seconds"),
            _time("last_ts"),
            _whole("last_count"),
            _number("last_sum"),
            sa.Column("position", sa.Integer(), nullable=False),
            _whole("zero_count"),
            sa.Column("negative_position", sa.Integer(), nullable=False),
            sa.Column("counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
            sa.Column("negative_counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
            sa.PrimaryKeyConstraint("signal", "ts", "layout", name=f"pk_histogram_rollups_{step}"),
            postgresql_partition_by="RANGE (ts)",
        )
        op.create_table(
            f"detection_rollups_{step}",
            _whole("signal"),
            _time("ts"),
            _whole("count"),
            _number("value"),
            _whole("expected_count"),
            *[sa.Column(name, sa.Double(), nullable=True) for name in ("expected", "lower", "upper", "score")],
            sa.PrimaryKeyConstraint("signal", "ts", name=f"pk_detection_rollups_{step}"),
            postgresql_partition_by="RANGE (ts)",
        )
    op.create_table(
        "rollup_progress",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        _time("rolled_to"),
        _whole("signal"),
        sa.CheckConstraint("id = 1", name="ck_rollup_progress_single"),
        sa.PrimaryKeyConstraint("id", name="pk_rollup_progress"),
    )
    op.create_table(
        "late_hours",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _whole("signal"),
        _time("hour"),
        sa.Column("is_next", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_late_hours"),
    )
    op.create_index("ix_late_hours_hour_signal", "late_hours", ["hour", "signal"])


def downgrade() -> None:
    op.drop_table("late_hours")
    op.drop_table("rollup_progress")
    for step in _STEPS:
        for kind in ("number", "histogram", "detection"):
            op.drop_table(f"{kind}_rollups_{step}")
