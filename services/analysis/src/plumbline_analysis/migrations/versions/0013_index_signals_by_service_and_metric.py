"""index signals by service and metric"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_signals_service_metric", "signals", ["service", "metric"])
    op.drop_index("ix_signals_service", table_name="signals")


def downgrade() -> None:
    op.create_index("ix_signals_service", "signals", ["service"])
    op.drop_index("ix_signals_service_metric", table_name="signals")
