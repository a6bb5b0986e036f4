import asyncio
import json
import os
import sys
from typing import Any

import asyncpg
import pytest

import expansion
from plumbline_common import db, migrate


@pytest.fixture
async def empty_schema(postgres: Any) -> str:
    return await expansion.schema_of_its_own(postgres)


async def migrated(url: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "plumbline_common.migrate",
        "plumbline_requirements",
        env=os.environ | {"PLUMBLINE_REQUIREMENTS_DATABASE_URL": url},
    )
    return await process.wait()


async def test_two_that_start_at_once_migrate_once_and_models_agree(empty_schema: str) -> None:
    assert await asyncio.gather(migrated(empty_schema), migrated(empty_schema)) == [0, 0]
    await migrate.check("plumbline_requirements", empty_schema)
    connection = await asyncpg.connect(empty_schema.replace("+asyncpg", ""))
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == db.newest_migration(
        "plumbline_requirements"
    )
    await connection.close()


async def test_a_schema_of_a_later_release_is_left_as_it_is(
    empty_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    await migrate.upgrade("plumbline_requirements", empty_schema, to="0001")
    connection = await asyncpg.connect(empty_schema.replace("+asyncpg", ""))
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await migrate.upgrade("plumbline_requirements", empty_schema)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    assert "the schema is at 9999" in caplog.text
    await connection.close()


async def test_answers_that_are_kept_get_the_members_that_came_later(empty_schema: str) -> None:
    await migrate.upgrade("plumbline_requirements", empty_schema, to="0006")
    connection = await asyncpg.connect(empty_schema.replace("+asyncpg", ""))
    await connection.execute(
        "INSERT INTO requirements (id, revision, title, description, statement, rationale, type, priority, slos,"
        " verification_method, labels, fingerprint, status, created_at, created_by, updated_at, updated_by, authors,"
        " document) VALUES (gen_random_uuid(), 1, 'a', '', '', '', 'other', 'must', '[]', '', '{}', 'f', 'draft',"
        " now(), 'a', now(), 'a', '{}', $1)",
        '{"id":"a","labels":{"budget_policy":"mine"},"suspect_links":0}',
    )
    await migrate.upgrade("plumbline_requirements", empty_schema)
    document = await connection.fetchval("SELECT document FROM requirements")
    assert json.loads(document) == {
        "id": "a", "budget_policy": [], "labels": {"budget_policy": "mine"}, "suspect_links": 0,
    }  # fmt: skip
    assert document.endswith('"suspect_links":0}')
    assert await connection.fetchval("SELECT budget_policy FROM requirements") == "[]"
    # Killed before it was written down that it is done, it is done again and changes nothing.
    await connection.execute("UPDATE alembic_version SET version_num = '0006'")
    await migrate.upgrade("plumbline_requirements", empty_schema)
    assert await connection.fetchval("SELECT document FROM requirements") == document
    await connection.close()


async def test_the_release_before_works_on_the_newest_schema(empty_schema: str) -> None:
    assert await expansion.broken_by_the_newest_migration("plumbline_requirements", empty_schema) == []
