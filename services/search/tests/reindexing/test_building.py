"""An index is built beside the live one, by several, while documents change; nothing is missing when it is live."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import LIVE, NOW, OneIndex, Put, answered, document
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.documents import indexing
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.indexes import repository
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import NoIndex, Serving
from plumbline_search.reindexing import building
from plumbline_search.reindexing.building import Builder
from plumbline_search.searches import legs
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.schemas import SearchRequest, SearchResponse

ALICE = UserInfo("alice", frozenset({"admin"}), frozenset())
NEW = "another-model:256"


def of_size(dimensions: int) -> Any:
    async def encode(texts: list[str]) -> Vectors:
        vectors = np.zeros((len(texts), dimensions), np.float32)
        vectors[:, 0] = 1
        return vectors

    return encode


@pytest_asyncio.fixture
async def models() -> AsyncIterator[dict[str, Embedder]]:
    async with (
        Embedder(of_size(384)) as small,
        Embedder(of_size(256), model=NEW, dimensions=256, folds=False) as other,
    ):
        yield {MODEL: small, NEW: other}


@pytest_asyncio.fixture
async def serving(sessions: db.Sessions, models: dict[str, Embedder]) -> Serving:
    serving = Serving(sessions, models)
    await serving.refresh()
    return serving


async def begin(sessions: db.Sessions, serving: Serving, model: str = NEW, dimensions: int = 256) -> None:
    async with sessions.begin() as session:
        assert await repository.begin(session, model, dimensions, 1, "alice") is not None
    await serving.refresh()


async def write(sessions: db.Sessions, serving: Serving, number: int, **changes: Any) -> None:
    each = document(number, **changes)
    found_by = await indexing.read(serving, each.key, each.title, each.body)
    async with sessions.begin() as session:
        await indexing.index(session, serving, each, found_by)


async def built(sessions: db.Sessions, serving: Serving) -> None:
    while serving.building is not None:
        await Builder(sessions, serving).step()
        await serving.refresh()


async def rows(session: AsyncSession, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await session.execute(text(statement))]


async def lacking(session: AsyncSession, index: Index) -> int:
    missing = await rows(
        session,
        f"SELECT count(*) FROM search_documents d WHERE NOT deleted AND (NOT EXISTS"
        f" (SELECT 1 FROM search_passages_{index.slot} p WHERE p.version = d.version AND place = 0)"
        f" OR NOT EXISTS (SELECT 1 FROM search_fresh f WHERE f.version = d.version AND slot = {index.slot}))",
    )
    return int(missing[0][0])


async def asked(session: AsyncSession, serving: Serving, **request: Any) -> SearchResponse:
    return await answered(session, Tools(serving), SearchRequest.model_validate(request), ALICE)


async def found(session: AsyncSession, serving: Serving, **request: Any) -> set[str]:
    return {hit.title for hit in (await asked(session, serving, limit=100, **request)).items}


async def test_another_model_is_built_beside_the_live_one_and_takes_its_place(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving
) -> None:
    titles = {f"checkout {number}" for number in range(1, 41)}
    for number in range(1, 41):
        await put(document(number, title=f"checkout {number}", body="text " * (600 if number == 1 else 1)))
    await begin(sessions, serving)
    assert await Builder(sessions, serving).step()
    await serving.refresh()
    assert serving.live.model == MODEL
    assert serving.building is not None
    assert serving.building.done == 16
    assert await found(reading, serving, query="checkout") == titles
    await built(sessions, serving)
    assert (serving.live.model, serving.live.done, serving.live.dimensions) == (NEW, 40, 256)
    assert await found(reading, serving, query="checkout") == titles
    assert await found(reading, serving, query="checkout", legs=["lexical"]) == titles
    assert await rows(reading, "SELECT count(*), count(DISTINCT document) FROM search_passages_1") == [(42, 40)]
    assert await rows(reading, "SELECT DISTINCT model FROM search_passages_1") == [(NEW,)]


async def test_while_it_is_built_what_is_written_goes_into_both(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving
) -> None:
    for number in range(1, 31):
        await put(document(number, title=f"checkout {number}"))
    await begin(sessions, serving)
    await Builder(sessions, serving).step()
    await write(sessions, serving, 1, revision=2, title="checkout changed")
    await write(sessions, serving, 30, revision=2, title="checkout changed too")
    await write(sessions, serving, 31, title="checkout new")
    async with sessions.begin() as session:
        await indexing.remove(session, "requirement", UUID(int=2), 1, NOW)
    before = await found(reading, serving, query="checkout")
    assert {"checkout changed", "checkout changed too", "checkout new"} <= before
    await built(sessions, serving)
    assert await found(reading, serving, query="checkout") == before
    assert await found(reading, serving, query="checkout", legs=["lexical"]) == before


async def test_several_build_while_others_write_and_nothing_is_missing(
    put: Put, sessions: db.Sessions, reading: AsyncSession, models: dict[str, Embedder]
) -> None:
    for number in range(1, 101):
        await put(document(number, title=f"checkout {number}"))
    processes = [Serving(sessions, models) for _ in range(4)]
    for each in processes:
        await each.refresh()
    await begin(sessions, processes[0])

    async def build(serving: Serving) -> None:
        await built(sessions, serving)

    async def change(serving: Serving, of: range) -> None:
        for number in of:
            try:
                await write(sessions, serving, number, revision=2, title=f"checkout again {number}")
            except (indexing.Swapped, NoIndex):
                await serving.refresh()
                await write(sessions, serving, number, revision=2, title=f"checkout again {number}")

    # Two of them do not know of what is built until they are told.
    await processes[1].refresh()
    await asyncio.gather(
        build(processes[0]),
        build(processes[1]),
        change(processes[2], range(1, 60)),
        change(processes[3], range(90, 130)),
    )
    for each in processes:
        await each.refresh()
    assert processes[0].live.model == NEW
    assert await lacking(reading, processes[0].live) == 0
    assert len(await rows(reading, "SELECT 1 FROM search_documents")) == 129
    orphans = "SELECT count(*) FROM search_passages_1 WHERE version NOT IN (SELECT version FROM search_documents)"
    assert await rows(reading, orphans) == [(0,)]
    assert len(await found(reading, processes[0], query="again")) == 100


async def test_what_a_process_that_died_had_claimed_is_built_by_another(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving
) -> None:
    for number in range(1, 41):
        await put(document(number, title=f"checkout {number}"))
    await begin(sessions, serving)
    assert serving.building is not None
    async with sessions.begin() as session:
        claimed = await repository.claim(session, serving.building, 16)
    assert len(claimed) == 16
    await built(sessions, serving)
    assert await lacking(reading, serving.live) == 0
    assert serving.live.done == 40


async def test_who_read_a_text_for_an_index_that_is_not_live_any_more_reads_it_again(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving, models: dict[str, Embedder]
) -> None:
    late = Serving(sessions, models)
    await late.refresh()
    each = document(1, title="checkout")
    found_by = await indexing.read(late, each.key, each.title, each.body)
    await begin(sessions, serving)
    await built(sessions, serving)
    with pytest.raises(indexing.Swapped):
        async with sessions.begin() as session:
            await indexing.index(session, late, each, found_by)
    assert await rows(reading, "SELECT 1 FROM search_documents") == []


async def test_a_swap_waits_for_who_is_writing_and_then_has_what_was_written(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving, models: dict[str, Embedder]
) -> None:
    late = Serving(sessions, models)
    await late.refresh()
    await put(document(1, title="checkout 1"))
    each = document(2, title="checkout 2")
    found_by = await indexing.read(late, each.key, each.title, each.body)
    await begin(sessions, serving)
    async with sessions.begin() as session:
        assert await indexing.index(session, late, each, found_by)
        building = asyncio.create_task(built(sessions, serving))
        await asyncio.sleep(0.3)
        assert not building.done()
    await building
    assert await found(reading, serving, query="checkout") == {"checkout 1", "checkout 2"}
    assert await lacking(reading, serving.live) == 0


async def test_the_old_index_goes_when_every_process_knows(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving
) -> None:
    await put(document(1))
    await begin(sessions, serving)
    await built(sessions, serving)
    assert await rows(reading, "SELECT count(*) FROM search_passages_0") == [(1,)]
    assert not await Builder(sessions, serving).step()
    late = {"at": NOW - timedelta(days=1)}
    async with sessions.begin() as session:
        await session.execute(text("UPDATE search_indexes SET changed_at = :at WHERE state = 'old'"), late)
    assert await Builder(sessions, serving).step()
    assert await rows(reading, "SELECT count(*) FROM search_passages_0") == [(0,)]
    assert await rows(reading, "SELECT slot, count(*) FROM search_fresh GROUP BY slot") == [(1, 1)]
    assert await rows(reading, "SELECT state FROM search_indexes") == [("live",)]


async def test_what_the_live_index_lacks_is_put_into_it_and_what_it_has_too_much_is_removed(
    put: Put, sessions: db.Sessions, reading: AsyncSession, serving: Serving
) -> None:
    for number in range(1, 21):
        await put(document(number, title=f"checkout {number}"))
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM search_passages_0"))
        await session.execute(text("DELETE FROM search_fresh"))
        await session.execute(
            text(
                "INSERT INTO search_passages_0 (version, place, document, start, stop, kind, facets, updated_at,"
                " model, embedding) SELECT -1, 0, id, 0, 1, kind, facets, updated_at, 'm',"
                " array_fill(0.1::real, ARRAY[384])::halfvec FROM search_documents LIMIT 1"
            )
        )
    builder = Builder(sessions, serving)
    while await builder.step():
        pass
    assert await lacking(reading, serving.live) == 0
    assert await rows(reading, "SELECT count(*) FROM search_passages_0") == [(20,)]
    assert len(await found(reading, serving, query="checkout")) == 20


class TestWhatIsDueAtTheStart:
    async def test_an_index_of_what_is_configured_needs_nothing(
        self, sessions: db.Sessions, serving: Serving, models: dict[str, Embedder]
    ) -> None:
        await building.begin_where_due(sessions, models[MODEL])
        await serving.refresh()
        assert serving.building is None

    async def test_another_model_is_begun_once(
        self, sessions: db.Sessions, serving: Serving, models: dict[str, Embedder]
    ) -> None:
        await building.begin_where_due(sessions, models[NEW])
        await building.begin_where_due(sessions, models[NEW])
        await serving.refresh()
        assert serving.building is not None
        assert (serving.building.model, serving.building.asked_by) == (NEW, "configuration")


class TestAModelThatThisProcessDoesNotHave:
    @pytest.fixture
    def without(self) -> Serving:
        return OneIndex(None, Index(**LIVE.__dict__ | {"model": "unknown:384"}))

    async def test_is_searched_by_words_and_says_so(self, put: Put, reading: AsyncSession, without: Serving) -> None:
        await put(document(1, title="checkout"))
        answer = await asked(reading, without, query="checkout")
        assert [hit.title for hit in answer.items] == ["checkout"]
        assert [left.leg for left in answer.left_out] == ["vector"]

    async def test_is_refused_where_its_leg_alone_is_asked(self, reading: AsyncSession, without: Serving) -> None:
        with pytest.raises(legs.NoModel):
            await asked(reading, without, query="checkout", legs=["vector"])

    async def test_is_not_written(self, without: Serving) -> None:
        with pytest.raises(NoIndex, match="unknown:384"):
            await indexing.read(without, None, "title", "body")
