"""incidents, what happened to them, and the service graph"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("services", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("requirement_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("onset", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("quiet_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("anomaly_count", sa.Integer(), nullable=False),
        sa.Column("anomalies", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("origins", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("comments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("acknowledged_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("split_from", sa.Uuid(), nullable=True),
        sa.Column("apart", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index(
        "ix_incidents_onset", "incidents", [sa.literal_column("onset DESC"), sa.literal_column("id DESC")]
    )
    op.create_index("ix_incidents_services", "incidents", ["services"], postgresql_using="gin")
    op.create_index("ix_incidents_requirement_ids", "incidents", ["requirement_ids"], postgresql_using="gin")
    op.create_index("ix_incidents_merged_into", "incidents", ["merged_into"])
    op.create_index(
        "ix_incidents_quiet_since",
        "incidents",
        ["quiet_since"],
        postgresql_where=sa.text("state IN ('open', 'acknowledged')"),
    )
    op.create_table(
        "incident_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("other_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_incident_entries"),
    )
    op.create_index("ix_incident_entries_incident_id_at", "incident_entries", ["incident_id", "at"])
    op.create_table(
        "service_edges",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("callee", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "callee", name="pk_service_edges"),
    )
    op.create_index("ix_service_edges_last_seen", "service_edges", ["last_seen"])
    op.add_column("anomalies", sa.Column("incident_id", sa.Uuid(), nullable=True))
    op.add_column("anomalies", sa.Column("grouped_revision", sa.Integer(), nullable=True))
    op.create_index("ix_anomalies_incident_id", "anomalies", ["incident_id"])
    # What was over before there were incidents belongs to none.
    op.execute('UPDATE anomalies SET grouped_revision = revision WHERE "end" IS NOT NULL')
    op.create_index(
        "ix_anomalies_ungrouped",
        "anomalies",
        ["onset", "id"],
        postgresql_where=sa.text("grouped_revision IS DISTINCT FROM revision"),
    )


def downgrade() -> None:
    op.drop_index("ix_anomalies_ungrouped", table_name="anomalies")
    op.drop_index("ix_anomalies_incident_id", table_name="anomalies")
    op.drop_column("anomalies", "grouped_revision")
    op.drop_column("anomalies", "incident_id")
    for table in ("service_edges", "incident_entries", "incidents"):
        op.drop_table(table)
