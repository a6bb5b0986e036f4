"""Statements of the driver's own, beside SQLAlchemy's pool."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plumbline_common import db
from plumbline_common.settings import ServiceSettings


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)


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


async def test_statements_before_any_of_sqlalchemy_are_part_of_the_transaction(settings: ServiceSettings) -> None:
    engine = db.create_engine(settings, "plumbline-common-tests")
    sessions = async_sessionmaker(engine)
    asked = "SELECT pg_current_xact_id()::text"
    async with sessions.begin() as session:
        first = await db.fetch(session, asked)
        assert await db.fetch(session, asked) == first
    async with sessions.begin() as session:
        assert await db.fetch(session, asked) != first
    await engine.dispose()


async def test_a_kept_session_stays_at_its_connection_and_others_go_back(single: db.Sessions) -> None:
    kept = db.Kept(single, 1, 1)
    async with kept.session() as session:
        pid = await backend(session)
    assert kept.idle == 1
    async with kept.session() as again:
        assert again is session
        assert await backend(again) == pid
        assert kept.idle == 0
    await kept.close()
    async with single() as other:  # the pool's only connection is free
        assert await backend(other) == pid


async def test_no_more_are_kept_than_may_be(single: db.Sessions) -> None:
    kept = db.Kept(single, 0, 1)
    async with kept.session() as session:
        await backend(session)
    assert kept.idle == 0
    async with single() as other:
        await backend(other)


async def test_a_session_in_which_something_failed_is_not_kept(single: db.Sessions) -> None:
    kept = db.Kept(single, 1, 1)
    with pytest.raises(DBAPIError):
        async with kept.session() as session:
            await db.fetch(session, "SELECT nothing_of_the_kind")
    assert kept.idle == 0
    async with single() as other:
        await backend(other)


async def test_a_kept_session_whose_connection_died_is_replaced(
    single: db.Sessions, settings: ServiceSettings
) -> None:
    kept = db.Kept(single, 1, 1)
    async with kept.session() as session:
        pid = await backend(session)
    engine = db.create_engine(settings, "plumbline-common-tests")
    async with async_sessionmaker(engine)() as other:
        await db.fetch(other, f"SELECT pg_terminate_backend({pid})")
    await engine.dispose()
    await asyncio.sleep(0.2)  # until the driver has heard
    async with kept.session() as session:
        assert await backend(session) != pid
    await kept.close()


async def test_who_waits_for_a_turn_comes_before_who_came_later(single: db.Sessions) -> None:
    kept, order = db.Kept(single, 1, 1), []

    async def use(name: str) -> None:
        async with kept.session() as session:
            await backend(session)
            order.append(name)

    async with kept.session() as session:
        await backend(session)
        waiting = [asyncio.create_task(use(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
    await use("later")
    await asyncio.gather(*waiting)
    assert order == ["first", "second", "later"]
    await kept.close()


async def test_who_gets_no_turn_within_the_pools_time_is_told_so(
    single: db.Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "_POOL_SECONDS", 0.01)
    kept = db.Kept(single, 1, 1)
    async with kept.session():
        with pytest.raises(PoolTimeout):
            async with kept.session():
                pass
    async with kept.session() as session:
        await backend(session)
    await kept.close()


async def test_what_a_kept_session_has_read_is_not_remembered(single: db.Sessions) -> None:
    kept = db.Kept(single, 1, 1)
    async with kept.session() as session:
        await backend(session)
        session.add(Thing())
    async with kept.session() as session:
        assert not list(session.new)
    await kept.close()
