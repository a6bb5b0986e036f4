from typing import Any

import expansion
from plumbline_common import migrate


async def test_models_agree_with_what_was_migrated(engine: Any, postgres: Any) -> None:
    await migrate.check("plumbline_analysis", postgres.owner_dsn("analysis"))


async def test_the_release_before_works_on_the_newest_schema(postgres: Any) -> None:
    schema = await expansion.schema_of_its_own(postgres)
    assert await expansion.broken_by_the_newest_migration("plumbline_analysis", schema) == []
