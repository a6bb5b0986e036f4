from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from indexed import Put, document
from plumbline_common import migrate


async def test_the_migrations_make_what_the_models_say(owner: AsyncEngine, postgres: Any) -> None:
    await migrate.check("plumbline_search", postgres.owner_dsn("search"))


async def test_a_change_of_state_alone_touches_no_index_of_vectors(put: Put, engine: AsyncEngine) -> None:
    """A heap-only tuple update of the passages: the HNSW index is not written."""
    await put(document(state="active"))
    counted = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables"
        " WHERE schemaname = current_schema() AND relname = 'search_passages_0'"
    )
    async with engine.connect() as connection:
        before = (await connection.execute(counted)).one()
        for state in ("deprecated", "retired", "active"):
            await connection.execute(text("UPDATE search_passages_0 SET state = :state"), {"state": state})
        after = (await connection.execute(counted)).one()
        await connection.rollback()
    assert [late - early for late, early in zip(after, before, strict=True)] == [3, 3]
