"""What a service's schema holds, in figures that two databases can be compared by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from plumbline_common.audit import Chain

_REVISION_TABLE, _AUDIT_TABLE = "alembic_version", "audit_entries"


@dataclass(frozen=True)
class Table:
    """`digest` is the sum of 64 bits of SHA-256 of each row as text, in decimal: no order of rows matters to it."""

    rows: int
    digest: str


@dataclass(frozen=True)
class Audit:
    """An audit log as its chain was recomputed: entries, the head, and the first fault where there is one."""

    entries: int
    position: int
    hash: str
    """In hexadecimal, of `position`."""
    fault: str | None = None


@dataclass(frozen=True)
class Contents:
    """Of one schema. Partitions count to their table; `sequences` are their last values."""

    revision: str
    """Alembic's, of the schema."""
    tables: dict[str, Table]
    sequences: dict[str, int]
    audit: Audit | None

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Contents":
        """From what `dataclasses.asdict` made. Raises TypeError, KeyError or AttributeError."""
        return cls(
            told["revision"],
            {name: Table(**table) for name, table in told["tables"].items()},
            dict(told["sequences"]),
            Audit(**told["audit"]) if told["audit"] else None,
        )


_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"""
_DIGEST = """
SELECT count(*) AS rows, coalesce(
  sum(('x' || encode(substr(sha256(convert_to(this_row::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint), 0
)::text AS digest FROM {table} AS this_row"""
_SEQUENCES = "SELECT sequencename, coalesce(last_value, 0) AS last FROM pg_sequences WHERE schemaname = $1"
# Ascending, those without a position (not sealed yet) come last.
_ENTRIES = "SELECT position, entry, digest, hash FROM {table} ORDER BY position, seq"


async def tables(connection: asyncpg.Connection, schema: str) -> list[str]:
    return [row["relname"] for row in await connection.fetch(_TABLES, schema)]


def quoted(schema: str, name: str) -> str:
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in (schema, name))


async def read(connection: asyncpg.Connection, schema: str) -> Contents:
    """All of it, read in the transaction of `connection`: every row is looked at."""
    names = await tables(connection, schema)
    sequences = {row["sequencename"]: row["last"] for row in await connection.fetch(_SEQUENCES, schema)}
    counted = {name: await _table(connection, quoted(schema, name)) for name in names}
    revision = ""
    if _REVISION_TABLE in counted:
        revisions = await connection.fetch(f"SELECT version_num FROM {quoted(schema, _REVISION_TABLE)} ORDER BY 1")  # noqa: S608 - quoted
        revision = ",".join(row["version_num"] for row in revisions)
    audit = await _audit(connection, quoted(schema, _AUDIT_TABLE)) if _AUDIT_TABLE in counted else None
    return Contents(revision, counted, sequences, audit)


async def _table(connection: asyncpg.Connection, table: str) -> Table:
    row = await connection.fetchrow(_DIGEST.format(table=table))
    assert row is not None
    return Table(row["rows"], row["digest"])


async def _audit(connection: asyncpg.Connection, table: str) -> Audit:
    chain, entries = Chain(), 0
    async for row in connection.cursor(_ENTRIES.format(table=table), prefetch=1000):
        entries += 1
        before = chain.position, chain.hash.hex()
        if fault := chain.check(row["position"], row["entry"], row["digest"], row["hash"]):
            place = "not sealed yet" if row["position"] is None else f"position {row['position']}"
            return Audit(entries, *before, f"{place}: {fault}")
    return Audit(entries, chain.position, chain.hash.hex())


def differences(expected: Contents, found: Contents) -> Iterator[str]:
    """What of `expected` is not so in `found`, a sentence each; a broken audit log even where it was so before."""
    if expected.revision != found.revision:
        yield f"the schema is at revision {found.revision or 'none'} instead of {expected.revision or 'none'}"
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        was, now = expected.tables.get(name), found.tables.get(name)
        if was is None or now is None:
            yield f"the table {name} is {'missing' if now is None else 'no part of the backup'}"
        elif was.rows != now.rows:
            yield f"{name} has {now.rows} rows instead of {was.rows}"
        elif was.digest != now.digest:
            yield f"{name} has as many rows as in the backup ({now.rows}), but not the same"
    for name, last in sorted(expected.sequences.items()):
        # A sequence is read at its newest, which may be after the moment of the backup.
        if found.sequences.get(name, -1) < last:
            yield f"the sequence {name} stands at {found.sequences.get(name, 'nothing')}, before {last}"
    if found.audit is not None and found.audit.fault is not None:
        yield f"the audit log is broken, {found.audit.fault}"
    elif expected.audit != found.audit:
        yield f"the audit log ends at {_head(found.audit)} instead of {_head(expected.audit)}"


def _head(audit: Audit | None) -> str:
    return "nothing" if audit is None else f"{audit.position}:{audit.hash} ({audit.entries} entries)"
