"""PostgreSQL through SQLAlchemy's AsyncSession on asyncpg. A service's role, schema and search path share a name."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy.dialects.postgresql.asyncpg  # noqa: F401 - here, not when the first engine is made on the loop
import uuid_utils.compat
from sqlalchemy import MetaData, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from plumbline_common import errors
from plumbline_common.settings import ServiceSettings

Sessions = async_sessionmaker[AsyncSession]
Model = TypeVar("Model", bound=DeclarativeBase)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def metadata() -> MetaData:
    """The tables of one service, with predictable constraint names."""
    return MetaData(naming_convention=NAMING)


def timestamp() -> TIMESTAMP:
    """An instant; every one is stored with its zone and read back in UTC."""
    return TIMESTAMP(timezone=True)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): ids of one process sort by the time that they were made."""
    return uuid_utils.compat.uuid7()


def json_bytes(value: bytes) -> str:
    """`value` as `bytea` reads it from a member of JSON."""
    return "\\x" + value.hex()


async def _connect(*args: Any, **options: Any) -> asyncpg.Connection:
    """SQLAlchemy wraps what a statement fails with, but not what connecting fails with."""
    try:
        return await asyncpg.connect(*args, **options)
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, *_NO_CONNECTION) as error:
        raise errors.Unavailable("the database takes no connection; nothing was changed; try again") from error


def create_engine(settings: ServiceSettings, application: str, **options: Any) -> AsyncEngine:
    """A pool of exactly `database_pool_size` connections; no statement or lock wait outlives its limit."""
    return create_async_engine(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        pool_recycle=_RECYCLED_AFTER_SECONDS,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "async_creator_fn": _connect,
            "timeout": 5,
            **({"ssl": context} if (context := settings.database_context) else {}),
            "server_settings": {
                "application_name": application,
                "timezone": "UTC",
                "jit": "off",  # it costs more than it gives on statements of a few milliseconds
                "statement_timeout": str(settings.statement_timeout_ms),
                "lock_timeout": str(settings.lock_timeout_ms),
                "idle_in_transaction_session_timeout": "60000",
            },
        },
        **options,
    )


def newest_migration(package: str) -> str:
    """The revision that the installed package needs: the number that its last migration's file begins with."""
    versions = Path(str(files(package))) / "migrations" / "versions"
    return max(path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py"))


async def fetch(session: AsyncSession, statement: str, *values: Any) -> list[Any]:
    """Rows of the driver itself, for what runs again and again: SQLAlchemy's part costs 0.3 to 4 ms a statement.

    Objects that the session has changed are not written before it. Raises what SQLAlchemy would.
    """
    connection = await driver(session)
    try:
        rows: list[Any] = await connection.fetch(statement, *values)
        return rows
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        is_dead = bool(connection.is_closed())
        if is_dead:
            # The pool would hand it out again.
            await (await session.connection()).invalidate()
        raise DBAPIError(statement, None, error, connection_invalidated=is_dead) from error


async def driver(session: AsyncSession) -> Any:
    """asyncpg's connection under the session, inside the session's transaction."""
    transaction = session.sync_session.get_transaction()
    known = session.info.get(_DRIVER)
    if known is None or known[0] is not transaction:
        # While the transaction lasts, so does its connection.
        raw: Any = await (await session.connection()).get_raw_connection()
        if not raw.driver_connection.is_in_transaction() and not raw.dbapi_connection.autocommit:
            await session.execute(_BEGIN)  # SQLAlchemy says BEGIN before the first statement of its own
        known = session.info[_DRIVER] = (session.sync_session.get_transaction(), raw.driver_connection)
    return known[1]


async def detached(session: AsyncSession, model: type[Model], which: str, *values: Any) -> list[Model]:
    """The rows of a table as objects that belong to no session, by `fetch`; `which` stands behind FROM."""
    columns = ", ".join(model.__table__.columns.keys())
    rows = await fetch(session, f"SELECT {columns} FROM {model.__tablename__} {which}", *values)  # noqa: S608
    return [model(**dict(row)) for row in rows]


class Kept:
    """Sessions in autocommit that stay at their connections from one use to the next, at most `most` while nobody
    uses them: to take a connection from the pool costs more than a small statement.

    Up to `at_once` are in use, the others wait in the order of arrival: one that is given on passes by all who wait
    for the pool, so that it must never be what the sessions of here wait for.
    """

    def __init__(self, sessions: Sessions, most: int, at_once: int) -> None:
        self._sessions = sessions
        self._most = most
        self._turns = asyncio.Semaphore(at_once)
        self._idle: list[tuple[AsyncSession, float]] = []

    @property
    def idle(self) -> int:
        return len(self._idle)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Raises what an exhausted pool does where there is no turn within its time."""
        try:
            async with asyncio.timeout(_POOL_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeout(f"no session to read with was free within {_POOL_SECONDS} seconds") from None
        try:
            async with self._turn() as session:
                yield session
        finally:
            self._turns.release()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[AsyncSession]:
        session, began = await self._taken()
        try:
            yield session
        except BaseException:
            async with session:  # which closes it: whatever it is in the middle of
                raise
        session.expunge_all()
        if self._is_usable(session, began) and len(self._idle) < self._most:
            self._idle.append((session, began))
        else:
            await session.close()

    async def _taken(self) -> tuple[AsyncSession, float]:
        while self._idle:
            session, began = self._idle.pop()
            if self._is_usable(session, began):
                return session, began
            await self._closed(session)
        return self._sessions(), time.monotonic()

    async def close(self) -> None:
        while self._idle:
            await self._closed(self._idle.pop()[0])

    @staticmethod
    def _is_usable(session: AsyncSession, began: float) -> bool:
        known = session.info.get(_DRIVER)
        return (
            known is not None
            and known[0] is session.sync_session.get_transaction()
            and not known[1].is_closed()
            and time.monotonic() - began < _RECYCLED_AFTER_SECONDS
        )

    @staticmethod
    async def _closed(session: AsyncSession) -> None:
        known = session.info.get(_DRIVER)
        if known is not None and known[1].is_closed():
            await (await session.connection()).invalidate()
        await session.close()


_POOL_SECONDS = 5
_RECYCLED_AFTER_SECONDS = 1800
_DRIVER = "plumbline.driver"
_BEGIN = text("SELECT").execution_options(plumbline_summary="BEGIN")
_NO_CONNECTION = (asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError)  # starting up; no slot left

# Connection faults (08), resources (53), intervention (57), I/O (58), lock not to be had in time (55P03),
# and the two that a retry settles: serialization failure and deadlock.
_TRANSIENT = ("08", "53", "57", "58")
_TRANSIENT_STATES = {"55P03", "40001", "40P01"}


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the server was away, busy, or the pool was empty."""
    if isinstance(error, PoolTimeout | OSError | TimeoutError | errors.Unavailable):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(_TRANSIENT) or state in _TRANSIENT_STATES
