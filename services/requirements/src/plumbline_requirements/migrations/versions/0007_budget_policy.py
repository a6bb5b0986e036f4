"""What happens when so much of an error budget is spent"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "requirements",
        sa.Column("budget_policy", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
    )
    # The kept answers get the member; the order of members says nothing.
    op.execute("""UPDATE requirements SET document = '{"budget_policy"\\:[],' || substr(document, 2)""")


def downgrade() -> None:
    op.execute("""UPDATE requirements SET document = replace(document, '{"budget_policy"\\:[],', '{')""")
    op.drop_column("requirements", "budget_policy")
