import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from plumbline_stack import ports, processes
from plumbline_stack.credentials import Credentials
from plumbline_stack.layout import SERVICES, owner
from plumbline_stack.postgres import ADMIN, PostgresServer


@contextlib.asynccontextmanager
async def connected(postgres: PostgresServer, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.asyncpg_dsn(role))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def probe(postgres: PostgresServer) -> AsyncIterator[None]:
    """What a migration of search might make."""
    async with connected(postgres, owner("search")) as connection:
        await connection.execute(
            "CREATE TABLE probe (id serial, word text);"
            "CREATE FUNCTION shout(word text) RETURNS text LANGUAGE sql AS $$ SELECT upper(word) $$"
        )
        yield
        await connection.execute("DROP TABLE probe; DROP FUNCTION shout")


@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_has_a_schema_of_its_own_that_another_role_owns(
    postgres: PostgresServer, service: str
) -> None:
    for role in (service, owner(service)):
        async with connected(postgres, role) as connection:
            assert await connection.fetchval("SELECT current_schema()") == service
            owned = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = current_schema()"
            assert await connection.fetchval(owned) == owner(service)


async def test_a_service_reads_and_writes_rows_of_what_its_migrations_make(
    postgres: PostgresServer, probe: None
) -> None:
    async with connected(postgres, "search") as connection:
        await connection.execute("INSERT INTO probe (word) VALUES ('a'); UPDATE probe SET word = shout(word)")
        assert await connection.fetchval("DELETE FROM probe RETURNING word") == "A"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (id int)",
        "CREATE TABLE requirements.mine (id int)",
        "ALTER TABLE probe ADD COLUMN more int",
        "ALTER TABLE probe DISABLE TRIGGER USER",
        "CREATE INDEX ON probe (word)",
        "TRUNCATE probe",
        "DROP TABLE probe",
        "DROP FUNCTION shout",
        "ALTER SEQUENCE probe_id_seq RESTART",
        "SET ROLE search_owner",
        "CREATE ROLE mine",
    ],
)
async def test_a_service_cannot_change_its_schema_or_make_another(
    postgres: PostgresServer, probe: None, statement: str
) -> None:
    async with connected(postgres, "search") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("role", ["requirements", "analysis", "requirements_owner", "analysis_owner"])
async def test_nobody_else_reads_it(postgres: PostgresServer, probe: None, role: str) -> None:
    async with connected(postgres, role) as connection:
        for statement in ("SELECT * FROM search.probe", "SELECT search.shout('a')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_a_database_where_the_service_owned_its_tables_is_brought_to_this_state(
    postgres: PostgresServer,
) -> None:
    """As the release before this one left it."""
    async with connected(postgres, ADMIN) as admin:
        await admin.execute(
            "SET search_path = requirements, public;"
            "ALTER SCHEMA requirements OWNER TO requirements; GRANT TEMPORARY ON DATABASE plumbline TO requirements;"
            "SET ROLE requirements;"
            "CREATE TABLE kept (id serial, day date) PARTITION BY RANGE (day);"
            "CREATE TABLE kept_1 PARTITION OF kept FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');"
            "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            "CREATE TRIGGER guard BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION guard();"
            "INSERT INTO kept (day) VALUES ('2026-01-01')"
        )
    await postgres.initialise()
    async with connected(postgres, "requirements") as connection:
        await connection.execute("INSERT INTO kept (day) VALUES ('2026-01-01')")
        assert [row["id"] for row in await connection.fetch("SELECT id FROM kept ORDER BY id")] == [1, 2]
        for statement in ("DROP TABLE kept_1", "DROP FUNCTION guard CASCADE", "CREATE TEMP TABLE mine (id int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    async with connected(postgres, owner("requirements")) as connection:
        await connection.execute("DROP TABLE kept; DROP FUNCTION guard")


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
