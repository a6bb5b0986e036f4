"""Statements of the driver's own, beside SQLAlchemy's pool."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from plumbline_common import db
from plumbline_common.settings import ServiceSettings


@pytest.fixture
async def single(settings: ServiceSettings) -> AsyncIterator[db.Sessions]:
    """Of a pool of one connection, in autocommit, as searches have it."""
    engine = db.create_engine(settings.model_copy(update={"database_pool_size": 1}), "plumbline-common-tests")
    yield async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    await engine.dispose()


async def backend(session: AsyncSession) -> int:
    [row] = await db.fetch(session, "SELECT pg_backend_pid() AS pid")
    return int(row["pid"])


async def test_statements_of_one_transaction_use_one_connection(single: db.Sessions) -> None:
    async with single() as session:
        first = await backend(session)
        assert await backend(session) == first
        await session.commit()
        [row] = await db.fetch(session, "SELECT $1::int[] AS numbers, $2::text AS word", [1, 2], "'")
        assert (row["numbers"], row["word"]) == ([1, 2], "'")


async def test_a_connection_that_died_is_not_handed_out_again(single: db.Sessions) -> None:
    async with single() as session:
        pid = await backend(session)
        with pytest.raises(DBAPIError) as failed:
            await db.fetch(session, f"SELECT pg_terminate_backend({pid}), pg_sleep(5)")
        assert failed.value.connection_invalidated
        assert db.is_transient(failed.value)
    async with single() as session:
        assert await backend(session) != pid


async def test_a_statement_that_is_wrong_leaves_the_connection(single: db.Sessions) -> None:
    async with single() as session:
        pid = await backend(session)
        with pytest.raises(DBAPIError) as failed:
            await db.fetch(session, "SELECT nothing_of_the_kind")
        assert not db.is_transient(failed.value)
        assert await backend(session) == pid
