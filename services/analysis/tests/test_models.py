from sqlalchemy.ext.asyncio import AsyncEngine

from plumbline_analysis.settings import Settings
from plumbline_common import migrate


async def test_the_models_and_the_migrated_schema_agree(engine: AsyncEngine, settings: Settings) -> None:
    await migrate.check("plumbline_analysis", settings.database_url)
