import asyncio
import contextlib
import tempfile
from pathlib import Path

import asyncpg
import pytest

from plumbline_stack import ports, processes
from plumbline_stack.credentials import Credentials
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


@pytest.mark.parametrize("after", [0.3, 0.9])
async def test_a_first_start_that_was_cut_off_is_begun_anew(after: float) -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = PostgresServer(folder, ports.choose(), Credentials(folder / "secrets"), durable=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after):
                await server.prepare(folder / "log")
        await server.prepare(folder / "log")
        process = await processes.start(server.command(), folder / "log")
        try:
            await processes.until_ready(process, server.ready, 30)
        finally:
            await processes.stop(process, server.command().stop_signal, 15)
