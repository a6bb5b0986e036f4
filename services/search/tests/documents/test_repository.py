from datetime import timedelta
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import NOW, Put, axis, document
from plumbline_common import db
from plumbline_search.documents import content, repository


async def titles(session: AsyncSession) -> list[str]:
    rows = await session.execute(text("SELECT title FROM search_documents WHERE NOT deleted ORDER BY title"))
    return list(rows.scalars())


async def rows(session: AsyncSession, table: str) -> int:
    count: int = (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
    return count


class TestPut:
    async def test_a_newer_revision_replaces_an_older_one(self, put: Put, reading: AsyncSession) -> None:
        assert await put(document(title="first"))
        assert await put(document(revision=2, title="second"))
        assert await titles(reading) == ["second"]

    async def test_an_older_revision_changes_nothing(self, put: Put, reading: AsyncSession) -> None:
        assert await put(document(revision=2, title="second"))
        assert not await put(document(title="first", updated_at=NOW + timedelta(days=1)))
        assert await titles(reading) == ["second"]

    async def test_the_same_revision_again_changes_nothing(self, put: Put) -> None:
        assert await put(document())
        assert not await put(document())

    async def test_of_one_revision_the_later_change_wins(self, put: Put, reading: AsyncSession) -> None:
        assert await put(document(title="approved", updated_at=NOW + timedelta(seconds=2)))
        assert not await put(document(title="in review", updated_at=NOW + timedelta(seconds=1)))
        assert await put(document(title="active", updated_at=NOW + timedelta(seconds=3)))
        assert await titles(reading) == ["active"]

    async def test_the_longest_values_are_stored(self, put: Put, reading: AsyncSession) -> None:
        words = " ".join(f"{number:x}" for number in range(20_000))[: content.BODY_CHARACTERS]
        facet = "\U0001f525" * content.FACET_CHARACTERS
        assert await put(document(title="t" * 500, body=words, key=facet, service=facet, team=facet, state=facet))
        assert await titles(reading) == ["t" * 500]

    async def test_entities_of_two_kinds_may_share_an_id(self, put: Put, reading: AsyncSession) -> None:
        await put(document(title="a"))
        await put(document(title="b", kind="anomaly"))
        assert await titles(reading) == ["a", "b"]

    async def test_any_text_that_was_made_storable_is_stored(self, put: Put, reading: AsyncSession) -> None:
        body = "'; DROP TABLE search_documents; -- \\ & | ! <-> :* <script>🔥</script> نص " + "x" * 5000
        assert await put(document(title="", body=body))
        row = await reading.execute(text("SELECT body FROM search_documents"))
        assert row.scalar_one() == body


class TestBury:
    async def test_nothing_of_the_content_stays(self, put: Put, sessions: db.Sessions, reading: AsyncSession) -> None:
        await put(document(key="REQ-1", service="checkout", team="payments", state="active", facets={"a": "b"}))
        async with sessions.begin() as session:
            assert await repository.bury(session, "requirement", UUID(int=1), 1, NOW)
        row = (await reading.execute(text("SELECT * FROM search_documents"))).mappings().one()
        kept = {name for name, value in row.items() if value not in (None, "", {})}
        assert kept == {"id", "version", "kind", "entity_id", "revision", "deleted", "updated_at", "changed"}
        assert [await rows(reading, table) for table in ("search_passages_0", "search_fresh")] == [0, 0]

    async def test_a_late_event_does_not_revive_what_was_deleted(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        await put(document(revision=3))
        async with sessions.begin() as session:
            await repository.bury(session, "requirement", UUID(int=1), 3, NOW)
        assert not await put(document(revision=2))
        assert not await put(document(revision=3, updated_at=NOW + timedelta(days=1)))
        assert await titles(reading) == []

    async def test_a_deletion_that_comes_first_is_kept(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        async with sessions.begin() as session:
            assert await repository.bury(session, "requirement", UUID(int=1), 4, NOW)
        assert not await put(document(revision=3))
        assert await titles(reading) == []

    async def test_a_deletion_older_than_what_is_there_changes_nothing(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        await put(document(revision=5))
        async with sessions.begin() as session:
            assert not await repository.bury(session, "requirement", UUID(int=1), 4, NOW)
        assert await titles(reading) == ["Checkout answers fast"]


class TestIndex:
    async def test_a_new_text_replaces_what_the_old_one_was_found_by(self, put: Put, reading: AsyncSession) -> None:
        await put(document(body="one"))
        await put(document(revision=2, body="two " * 900))
        versions = await reading.execute(
            text(
                "SELECT DISTINCT d.version, p.version, f.version"
                " FROM search_documents d, search_passages_0 p, search_fresh f"
            )
        )
        ((of_document, of_passages, of_terms),) = versions.all()
        assert of_document == of_passages == of_terms
        assert await rows(reading, "search_passages_0") == 3

    async def test_a_change_of_state_alone_keeps_postings_and_vectors(self, put: Put, reading: AsyncSession) -> None:
        await put(document(state="active", service="checkout", facets={"type": "latency"}))
        before = (await reading.execute(text("SELECT version, xmin::text FROM search_fresh"))).all()
        await put(document(revision=2, state="retired", service="stock", facets={"type": "capacity"}))
        assert (await reading.execute(text("SELECT version, xmin::text FROM search_fresh"))).all() == before
        row = (await reading.execute(text("SELECT state, service, facets FROM search_passages_0"))).one()
        assert tuple(row) == ("retired", "stock", {"type": "capacity"})

    async def test_vectors_are_kept_as_they_were_given(self, put: Put, reading: AsyncSession) -> None:
        vectors = np.stack([axis(1), axis(2)])
        await put(document(body="word " * 400), vectors)
        kept = await reading.execute(text("SELECT embedding::real[] FROM search_passages_0 ORDER BY place"))
        assert np.array_equal(np.array(kept.scalars().all(), np.float32), vectors)


async def test_a_requirement_is_named_by_key_and_title(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    await put(document(key="REQ-42"))
    assert await repository.name_of_requirement(reading, UUID(int=1)) == "REQ-42 Checkout answers fast"
    assert await repository.name_of_requirement(reading, UUID(int=2)) is None
    async with sessions.begin() as session:
        await repository.bury(session, "requirement", UUID(int=1), 2, NOW)
    assert await repository.name_of_requirement(reading, UUID(int=1)) is None
