import asyncio
from typing import Any

from sqlalchemy.ext.asyncio import async_sessionmaker

from link import Link
from plumbline_common import db
from plumbline_search.indexes import serving
from plumbline_search.settings import Settings
from plumbline_stack import ports


async def test_a_database_that_is_down_at_the_start_is_waited_for(
    sessions: db.Sessions, settings: Settings, postgres: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(serving, "HEARD_SECONDS", 0.02)
    link = Link(ports.choose(), postgres.port)
    url = settings.database_url.replace(f":{postgres.port}/", f":{link.port}/")
    engine = db.create_engine(settings.model_copy(update={"database_url": url}), "tests")
    looking = asyncio.create_task(serving.found(async_sessionmaker(engine)))
    try:
        await asyncio.wait({looking}, timeout=0.1)
        assert not looking.done()
        await link.mend()
        assert [index.state for index in await asyncio.wait_for(looking, 10)] == ["live"]
    finally:
        looking.cancel()
        await engine.dispose()
        await link.cut()
