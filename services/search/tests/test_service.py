import asyncio
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from plumbline_common import db
from plumbline_search import repository, service
from plumbline_search.documents import Document
from plumbline_search.embeddings import Embedder, TooBusy
from plumbline_search.encoder import Vectors
from plumbline_search.model_store import DIMENSIONS
from plumbline_search.schemas import SearchRequest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCUMENT = Document("requirement", UUID(int=1), 1, NOW, "Checkout answers fast", "Payments within 300 ms.")
VECTOR = np.eye(1, DIMENSIONS, dtype=np.float32)[0]


async def encode(texts: list[str]) -> Vectors:
    return np.repeat(VECTOR[np.newaxis], len(texts), axis=0)


async def staged(session: AsyncSession) -> int:
    count: int = (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one()
    return count


async def test_what_was_stored_is_announced_once(sessions: db.Sessions, reading: AsyncSession) -> None:
    for _ in range(2):
        async with sessions.begin() as session:
            await service.index(session, DOCUMENT, VECTOR)
    assert await staged(reading) == 1


async def test_a_removed_document_is_found_no_more(sessions: db.Sessions, reading: AsyncSession) -> None:
    async with sessions.begin() as session:
        await service.index(session, DOCUMENT, VECTOR)
    async with Embedder(encode) as embedder:
        before = await service.search(reading, embedder, SearchRequest(query="checkout"))
        async with sessions.begin() as session:
            await service.remove(session, "requirement", UUID(int=1), 1, NOW)
        after = await service.search(reading, embedder, SearchRequest(query="checkout"))
    assert (before.total, after.total) == (1, 0)
    assert after.items == []


async def test_no_transaction_is_open_while_the_query_is_embedded(
    sessions: db.Sessions, reading: AsyncSession, engine: AsyncEngine
) -> None:
    open_transactions = []

    async def observing(texts: list[str]) -> Vectors:
        await asyncio.sleep(0.05)
        async with engine.connect() as connection:
            counted = await connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
                    " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
                )
            )
            open_transactions.append(counted.scalar_one())
        return await encode(texts)

    async with Embedder(observing) as embedder:
        await service.search(reading, embedder, SearchRequest(query="checkout"))
    assert open_transactions == [0]


async def test_words_are_looked_up_while_the_query_is_embedded(
    sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = asyncio.Event()
    by_words = repository.by_words

    async def observed(*arguments: object) -> object:
        found = await by_words(*arguments)  # type: ignore[arg-type]
        looked_up.set()
        return found

    async def waits_for_the_words(texts: list[str]) -> Vectors:
        await asyncio.wait_for(looked_up.wait(), 5)
        return await encode(texts)

    monkeypatch.setattr(repository, "by_words", observed)
    async with Embedder(waits_for_the_words) as embedder:
        assert (await service.search(reading, embedder, SearchRequest(query="checkout"))).total == 0


async def test_a_query_that_cannot_be_embedded_is_refused_and_the_session_stays_usable(
    reading: AsyncSession,
) -> None:
    async with Embedder(encode, waiting=0) as embedder:
        with pytest.raises(TooBusy):
            await service.search(reading, embedder, SearchRequest(query="checkout"))
    assert await staged(reading) == 0


async def test_a_document_that_goes_between_the_legs_and_the_page_is_left_out(
    sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sessions.begin() as session:
        await service.index(session, DOCUMENT, VECTOR)
    by_meaning = repository.by_meaning

    async def then_deleted(*arguments: object) -> object:
        found = await by_meaning(*arguments)  # type: ignore[arg-type]
        async with sessions.begin() as session:
            await service.remove(session, "requirement", UUID(int=1), 1, NOW)
        return found

    monkeypatch.setattr(repository, "by_meaning", then_deleted)
    async with Embedder(encode) as embedder:
        assert (await service.search(reading, embedder, SearchRequest(query="checkout"))).items == []
