import asyncpg
import pytest

from plumbline_stack.postgres import PostgresServer


async def test_each_service_has_a_schema_of_its_own(postgres: PostgresServer) -> None:
    for role in ("requirements", "search", "analysis"):
        connection = await asyncpg.connect(postgres.asyncpg_dsn(role))
        try:
            assert await connection.fetchval("SELECT current_schema()") == role
            await connection.execute("CREATE TABLE probe (id int)")
            await connection.execute("DROP TABLE probe")
        finally:
            await connection.close()


async def test_a_service_cannot_use_the_schema_of_another(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.asyncpg_dsn("search"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE requirements.probe (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE public.probe (id int)")
    finally:
        await connection.close()


async def test_a_password_is_asked_for(postgres: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.asyncpg_dsn("search").replace("search:", "search:no"))


async def test_the_extensions_are_there_and_init_can_run_again(postgres: PostgresServer) -> None:
    await postgres.initialise()
    connection = await asyncpg.connect(postgres.asyncpg_dsn())
    try:
        rows = await connection.fetch(
            "SELECT extname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
            " WHERE nspname = 'public' ORDER BY extname"
        )
        assert [row["extname"] for row in rows] == ["btree_gin", "pg_trgm", "unaccent", "vector"]
        assert await connection.fetchval("SELECT '[1,2]'::halfvec <#> '[1,2]'::halfvec") == -5
    finally:
        await connection.close()
