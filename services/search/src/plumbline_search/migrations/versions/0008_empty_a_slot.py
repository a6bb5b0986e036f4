"""The service's role, which is named like the schema and owns no table, may empty the passages of a slot at once.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _role() -> str:
    role: str = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    return role


def upgrade() -> None:
    op.execute(f"GRANT TRUNCATE ON search_passages_0, search_passages_1 TO {_role()}")


def downgrade() -> None:
    op.execute(f"REVOKE TRUNCATE ON search_passages_0, search_passages_1 FROM {_role()}")
