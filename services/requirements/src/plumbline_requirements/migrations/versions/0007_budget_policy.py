"""What happens when so much of an error budget is spent"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The kept answers get the member; the order of members says nothing. Those that have it were written since.
_BATCH = sa.text(
    "WITH batch AS (SELECT id FROM requirements WHERE id > :last ORDER BY id LIMIT 5000),"
    " written AS (UPDATE requirements SET document = '{\"budget_policy\"\\:[],' || substr(document, 2) FROM batch"
    "  WHERE requirements.id = batch.id AND NOT document::jsonb ? 'budget_policy')"
    " SELECT id FROM batch ORDER BY id DESC LIMIT 1"
)


def upgrade() -> None:
    op.execute("ALTER TABLE requirements ADD COLUMN IF NOT EXISTS budget_policy jsonb DEFAULT '[]' NOT NULL")
    # A batch at a time: who reads waits for none of it, who writes for one at most. It may be done again.
    with op.get_context().autocommit_block():
        connection, last = op.get_bind(), UUID(int=0)
        while (found := connection.execute(_BATCH, {"last": last}).scalar()) is not None:
            last = found


def downgrade() -> None:
    op.execute("UPDATE requirements SET document = replace(document, '{\"budget_policy\"\\:[],', '{')")
    op.drop_column("requirements", "budget_policy")
