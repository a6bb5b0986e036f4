"""Expand and contract: whether the release before still works on the schema that the newest migration leaves."""

import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory

from plumbline_common import migrate

_WIDER = {
    ("smallint", "integer"),
    ("smallint", "bigint"),
    ("integer", "bigint"),
    ("real", "double precision"),
    ("json", "jsonb"),
}


@dataclass(frozen=True)
class Column:
    type: str
    required: bool = False
    filled: bool = False
    """By a default, an identity or an expression, where a row does not say it."""


@dataclass(frozen=True)
class Constraint:
    columns: frozenset[str]
    definition: str


@dataclass
class Table:
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)


Catalogue = dict[str, Table]

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
  a.atthasdef OR a.attidentity <> '' AS filled
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
"""
_CONSTRAINTS = """
SELECT c.relname, k.conname AS name, pg_get_constraintdef(k.oid) AS definition,
  ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (k.conkey)) AS columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition
  AND k.contype IN ('c', 'u', 'p', 'x', 'f')
UNION ALL
SELECT c.relname, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid),
  ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (i.indkey))
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition AND i.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
"""


async def catalogue(url: str) -> Catalogue:
    """The tables and views of a schema, as PostgreSQL has them."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        found: Catalogue = {}
        for row in await connection.fetch(_COLUMNS):
            columns = found.setdefault(row["relname"], Table()).columns
            columns[row["attname"]] = Column(row["type"], row["required"], row["filled"])
        for row in await connection.fetch(_CONSTRAINTS):
            constraints = found.setdefault(row["relname"], Table()).constraints
            constraints[row["name"]] = Constraint(frozenset(row["columns"]), row["definition"])
        return found
    finally:
        await connection.close()


def broken(before: Catalogue, after: Catalogue, contracts: Collection[str] = ()) -> Iterator[str]:
    """What a program that was written for `before` can no longer do in `after`.

    `contracts` names the tables, columns (`table.column`) and constraints (`table.constraint`) that it does not use.
    """
    for name, table in before.items():
        if name in contracts:
            continue
        if name not in after:
            yield f"{name} is gone"
            continue
        yield from (f"{name}.{fault}" for fault in _columns(name, table, after[name], contracts))
        yield from (f"{name}: {fault}" for fault in _constraints(name, table, after[name], contracts))


def _columns(name: str, before: Table, after: Table, contracts: Collection[str]) -> Iterator[str]:
    for column, was in before.columns.items():
        if f"{name}.{column}" in contracts:
            continue
        if (now := after.columns.get(column)) is None:
            yield f"{column} is gone"
            continue
        if was.type != now.type and not _wider(was.type, now.type):
            yield f"{column} was {was.type} and is {now.type}"
        if now.required and not was.required:
            yield f"{column} has become required"
        if was.filled and now.required and not now.filled:
            yield f"{column} has lost its default"
    for column in after.columns.keys() - before.columns.keys():
        now = after.columns[column]
        if now.required and not now.filled:
            yield f"{column} is new, required and has no default"


def _wider(was: str, now: str) -> bool:
    if (was, now) in _WIDER:
        return True
    lengths = [re.fullmatch(r"character varying(?:\((\d+)\))?", each) for each in (was, now)]
    if lengths[0] is None:
        return False
    return now == "text" or (lengths[1] is not None and int(lengths[1][1] or 2**31) >= int(lengths[0][1] or 2**31))


def _constraints(name: str, before: Table, after: Table, contracts: Collection[str]) -> Iterator[str]:
    for constraint, now in after.constraints.items():
        was = before.constraints.get(constraint)
        new = bool(now.columns) and not now.columns & before.columns.keys()
        if was == now or new or f"{name}.{constraint}" in contracts:
            continue
        if was is None:
            yield f"{constraint} is new: {now.definition}"
        elif not _takes_more(was.definition, now.definition):
            yield f"{constraint} was {was.definition} and is {now.definition}"


def _takes_more(was: str, now: str) -> bool:
    """Whether a list of words has only become longer."""
    words = [set(re.findall(r"'[^']*'", each)) for each in (was, now)]
    return bool(words[0]) and words[0] <= words[1]


async def schema_of_its_own(postgres: Any) -> str:
    """The address of a new role whose schema holds nothing."""
    admin = await asyncpg.connect(postgres.asyncpg_dsn())
    role = f"migrating_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'migrating'")
    await admin.execute(f"GRANT CONNECT ON DATABASE plumbline TO {role}")
    await admin.execute(f"CREATE SCHEMA AUTHORIZATION {role}")
    await admin.close()
    return f"postgresql+asyncpg://{role}:migrating@{postgres.dsn('requirements').split('@', 1)[1]}"


async def broken_by_the_newest_migration(package: str, url: str) -> list[str]:
    """Migrates the empty schema at `url` to the newest but one and then to the newest, and compares."""
    newest = ScriptDirectory.from_config(migrate._config(package)).get_revision("head")
    assert newest is not None
    await migrate.upgrade(package, url, to=str(newest.down_revision))
    before = await catalogue(url)
    await migrate.upgrade(package, url)
    return list(broken(before, await catalogue(url), getattr(newest.module, "contracts", ())))
