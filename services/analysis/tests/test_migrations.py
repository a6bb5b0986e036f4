from typing import Any

from plumbline_common import migrate


async def test_models_agree_with_what_was_migrated(engine: Any, postgres: Any) -> None:
    await migrate.check("plumbline_analysis", postgres.owner_dsn("analysis"))
