"""What another release has indexed is indexed anew, and found all the while."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import Put, document
from plumbline_common import db
from plumbline_search.documents import indexing
from plumbline_search.documents.refreshing import Refresher
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.postings.reading import Reader
from plumbline_search.text import analysis


async def rows(session: AsyncSession, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await session.execute(text(statement))]


async def refreshed(sessions: db.Sessions, embedder: Embedder) -> int:
    done = 0
    while count := await Refresher(sessions, embedder).step():
        done += count
    return done


@pytest.fixture
async def old(put: Put, sessions: db.Sessions) -> None:
    """Twenty documents, as a migration leaves them: with a vector of another model, and without postings."""
    for number in range(1, 21):
        await put(document(number, title=f"checkout {number}", body="text " * (600 if number == 1 else 1)))
    async with sessions.begin() as session:
        await session.execute(text("UPDATE search_documents SET indexed = ''"))
        await session.execute(text("UPDATE search_passages SET model = 'another@7'"))
        await session.execute(text("DELETE FROM search_fresh"))


async def test_all_that_is_indexed_otherwise_is_indexed_anew(
    old: None, sessions: db.Sessions, reading: AsyncSession, embedder: Embedder
) -> None:
    assert await refreshed(sessions, embedder) == 20
    assert await rows(reading, "SELECT DISTINCT indexed FROM search_documents") == [(indexing.INDEXED,)]
    assert await rows(reading, "SELECT DISTINCT model FROM search_passages") == [(MODEL,)]
    assert await rows(reading, "SELECT count(*), count(DISTINCT document) FROM search_passages") == [(22, 20)]
    found = await Reader().matches(reading, {analysis.term_id("checkout"): 1.0})
    assert len(found.versions) == 20
    assert await refreshed(sessions, embedder) == 0


async def test_what_changes_meanwhile_is_left_to_who_changes_it(
    old: None, put: Put, sessions: db.Sessions, reading: AsyncSession, embedder: Embedder
) -> None:
    class Slow(Embedder):
        async def embed(self, *arguments: Any, **options: Any) -> Any:
            await put(document(1, revision=2, title="changed meanwhile", body=""))
            return await embedder.embed(*arguments, **options)

    async def never(texts: list[str]) -> Any:
        raise AssertionError

    await refreshed(sessions, Slow(never))
    assert await rows(reading, "SELECT title FROM search_documents WHERE revision = 2") == [("changed meanwhile",)]
    assert await rows(
        reading,
        "SELECT count(*) FROM search_documents d WHERE NOT EXISTS"
        " (SELECT 1 FROM search_passages p WHERE p.version = d.version)"
        " OR NOT EXISTS (SELECT 1 FROM search_fresh f WHERE f.version = d.version)",
    ) == [(0,)]
