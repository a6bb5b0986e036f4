"""partitions are made and dropped by functions of the owner, for who may only read and write rows

The service's role owns no table. It may have these two things done, within its schema, and nothing else: a partition
of some days for a table that is partitioned, and the end of a partition.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _definer() -> str:
    """Runs as the owner; no name in it is looked up where the caller could put another."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    return f"LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp"


def upgrade() -> None:
    definer = _definer()
    # ATTACH lets writers of the other partitions go on; CREATE … PARTITION OF would stop them.
    op.execute(
        f"""
CREATE FUNCTION make_partition(whole name, part name, first date, days integer) RETURNS void {definer} AS $$
BEGIN
    PERFORM FROM pg_partitioned_table JOIN pg_class ON oid = partrelid
      WHERE relname = whole AND relnamespace = current_schema()::regnamespace;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%I is not a table with partitions', whole);
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, whole);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', whole, part,
                   first::timestamp AT TIME ZONE 'UTC', (first + days)::timestamp AT TIME ZONE 'UTC');
END
$$"""
    )
    op.execute(
        f"""
CREATE FUNCTION drop_partition(part name) RETURNS void {definer} AS $$
BEGIN
    PERFORM FROM pg_class WHERE relname = part AND relnamespace = current_schema()::regnamespace AND relispartition
      AND relkind = 'r';
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%I is not a partition', part);
    END IF;
    EXECUTE format('DROP TABLE %I', part);
END
$$"""
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION make_partition, drop_partition")
