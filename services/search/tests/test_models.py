from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from plumbline_common import migrate
from plumbline_search.settings import Settings


async def test_the_migrations_make_what_the_models_say(engine: AsyncEngine, settings: Settings) -> None:
    await migrate.check("plumbline_search", settings.database_url)


async def test_a_change_of_state_alone_touches_no_index(engine: AsyncEngine) -> None:
    """A heap-only tuple update: neither the HNSW nor the GIN index is written."""
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "INSERT INTO search_documents (kind, entity_id, revision, deleted, title, body, facets, updated_at)"
                " VALUES ('runbook', gen_random_uuid(), 1, false, 'title', repeat('some words ', 60), '{}', now())"
            )
        )
        for revision in range(2, 5):
            await connection.execute(
                text(
                    "UPDATE search_documents SET revision = :revision, title = title || '', body = body || ''"
                    " WHERE kind = 'runbook'"
                ),
                {"revision": revision},
            )
        updates = await connection.execute(
            text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'search_documents'")
        )
        assert updates.one() == (3, 3)
        await connection.rollback()
