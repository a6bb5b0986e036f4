"""What filters let through is read from indexes alone.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OPEN = (
    (("version",), ["state", "updated_at"]),
    (("service",), ["version"]),
    (("team",), ["version"]),
    (("kind", "state"), ["version"]),
)


def upgrade() -> None:
    for columns, include in _OPEN:
        op.create_index(
            f"ix_search_documents_open_{'_'.join(columns)}",
            "search_documents",
            list(columns),
            postgresql_include=include,
            postgresql_where=sa.text("NOT deleted AND readers IS NULL"),
        )
    op.create_index(
        "ix_search_documents_restricted",
        "search_documents",
        ["version"],
        postgresql_where=sa.text("NOT deleted AND readers IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_search_documents_restricted", "search_documents")
    for columns, _ in _OPEN:
        op.drop_index(f"ix_search_documents_open_{'_'.join(columns)}", "search_documents")
