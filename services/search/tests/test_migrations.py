from typing import Any

import expansion


async def test_the_release_before_works_on_the_newest_schema(postgres: Any) -> None:
    schema = await expansion.schema_of_its_own(postgres)
    assert await expansion.broken_by_the_newest_migration("plumbline_search", schema) == []
