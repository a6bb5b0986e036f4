"""Each document says which transaction changed it last, so that what was found is known to hold still.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those that are there changed before anything that will ask: NULL says so, and the table is not written anew.
    op.execute("ALTER TABLE search_documents ADD COLUMN changed xid8")
    op.execute(
        "CREATE FUNCTION search_documents_changed() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.changed := pg_current_xact_id(); RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER changed BEFORE INSERT OR UPDATE ON search_documents"
        " FOR EACH ROW EXECUTE FUNCTION search_documents_changed()"
    )
    op.create_index("ix_search_documents_changed", "search_documents", ["changed"])


def downgrade() -> None:
    op.drop_index("ix_search_documents_changed", "search_documents")
    op.execute("DROP TRIGGER changed ON search_documents")
    op.execute("DROP FUNCTION search_documents_changed()")
    op.drop_column("search_documents", "changed")
