from typing import Any

from plumbline_analysis.settings import Settings
from plumbline_common import migrate


async def test_models_agree_with_what_was_migrated(engine: Any, settings: Settings) -> None:
    await migrate.check("plumbline_analysis", settings.database_url)
