"""Leaves tables without rows."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection


async def empty(connection: AsyncConnection, tables: Iterable[str]) -> None:
    """In this order and in one round trip. DELETE: to truncate takes ten times as long where there are few rows."""
    raw: Any = await connection.get_raw_connection()
    await raw.driver_connection.execute("; ".join(f"DELETE FROM {name}" for name in tables))
