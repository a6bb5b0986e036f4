import asyncio
import os
import sys
from typing import Any

import asyncpg
import pytest

from plumbline_common import db, migrate


@pytest.fixture
async def empty_schema(postgres: Any) -> str:
    """The address of a role whose schema holds nothing."""
    admin = await asyncpg.connect(postgres.asyncpg_dsn())
    await admin.execute("CREATE ROLE migrating LOGIN PASSWORD 'migrating'")
    await admin.execute("GRANT CONNECT ON DATABASE plumbline TO migrating")
    await admin.execute("CREATE SCHEMA AUTHORIZATION migrating")
    await admin.close()
    return f"postgresql+asyncpg://migrating:migrating@{postgres.dsn('requirements').split('@', 1)[1]}"


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
