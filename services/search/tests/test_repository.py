from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search import documents, repository
from plumbline_search.documents import Document
from plumbline_search.embeddings import Vector
from plumbline_search.model_store import DIMENSIONS
from plumbline_search.repository import Filters
from plumbline_search.rules import START, STOP

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = Filters()


def axis(number: int) -> Vector:
    vector: Vector = np.zeros(DIMENSIONS, np.float32)
    vector[number] = 1
    return vector


def document(number: int = 1, **changes: object) -> Document:
    plain = Document("requirement", UUID(int=number), 1, NOW, "Checkout answers fast", "Payments within 300 ms.")
    return replace(plain, **changes)  # type: ignore[arg-type]


Put = Callable[..., Awaitable[bool]]


@pytest.fixture
def put(sessions: db.Sessions) -> Put:
    async def put(document: Document, vector: Vector | None = None) -> bool:
        async with sessions.begin() as session:
            return await repository.put(session, document, axis(0) if vector is None else vector)

    return put


async def titles(session: AsyncSession) -> list[str]:
    rows = await session.execute(text("SELECT title FROM search_documents WHERE NOT deleted ORDER BY title"))
    return list(rows.scalars())


async def words(session: AsyncSession, query: str, filters: Filters = ALL) -> list[str]:
    found = await repository.by_words(session, query, filters, 100)
    rows = await repository.described(session, [hit.id for hit in found], query)
    return [rows[hit.id].title for hit in found]


async def meaning(session: AsyncSession, vector: Vector, filters: Filters = ALL, limit: int = 100) -> list[str]:
    await repository.prepare_by_meaning(session)
    found = await repository.by_meaning(session, vector, filters, limit)
    rows = await repository.described(session, [hit.id for hit in found], "x")
    return [rows[hit.id].title for hit in found]


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
        words = " ".join(f"{number:x}" for number in range(20_000))[: documents.BODY_CHARACTERS]
        facet = "\U0001f525" * documents.FACET_CHARACTERS
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
        assert kept == {"id", "kind", "entity_id", "revision", "deleted", "updated_at"}
        assert await words(reading, "checkout payments") == []
        assert await meaning(reading, axis(0)) == []

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


class TestByWords:
    async def test_any_word_is_enough_and_more_words_rank_higher(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="slow checkout", body="after deploy"))
        await put(document(2, title="checkout", body="stock"))
        await put(document(3, title="backup", body="kept for a year"))
        assert await words(reading, "checkout slow after the deploy") == ["slow checkout", "checkout"]

    async def test_words_are_found_in_other_forms(self, put: Put, reading: AsyncSession) -> None:
        await put(document(title="Payments are failing"))
        assert await words(reading, "payment failed") == ["Payments are failing"]

    async def test_the_key_finds_its_requirement(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, key="REQ-42", title="a"))
        await put(document(2, key="REQ-43", title="b"))
        assert (await words(reading, "REQ-42"))[0] == "a"

    async def test_stop_words_alone_find_nothing(self, put: Put, reading: AsyncSession) -> None:
        await put(document(title="the and of"))
        assert await words(reading, "the and of") == []

    @pytest.mark.parametrize(
        "query",
        [
            "a & | ! <-> ( ) :* 'x' \\ \\' '' \"",
            "'; DROP TABLE search_documents; --",
            "!!!",
            "foo:*AB & ~!@#$%^&*()_+`-={}[]|:;<>?,./",
            "C:\\windows\\path \\x00 /usr/lib/x%20y?a='b'&c=\"d\"",
            "<b>bold</b> &amp; https://example.org/a'b\\c?d='e' o'brien@example.org",
            "🔥🚨 نص من اليمين",
            "\u0001\u0002\u200b\u202e",
            "word " * 800,
            "w" * 4000,
        ],
    )
    async def test_no_character_of_a_query_is_syntax(self, put: Put, reading: AsyncSession, query: str) -> None:
        await put(document(body=query))
        found = await repository.by_words(reading, query, ALL, 100)
        await repository.described(reading, [hit.id for hit in found], query)
        assert await titles(reading) == ["Checkout answers fast"]

    async def test_only_as_many_as_asked_come(self, put: Put, reading: AsyncSession) -> None:
        for number in range(1, 6):
            await put(document(number))
        assert len(await repository.by_words(reading, "checkout", ALL, 3)) == 3


class TestByMeaning:
    async def test_the_nearest_come_first_with_their_cosine(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="same"), axis(0))
        await put(document(2, title="near"), (axis(0) * 0.8 + axis(1) * 0.6).astype(np.float32))
        await put(document(3, title="opposite"), -axis(0))
        await repository.prepare_by_meaning(reading)
        found = await repository.by_meaning(reading, axis(0), ALL, 100)
        assert [hit.score for hit in found] == pytest.approx([1, 0.8, -1], abs=1e-3)
        assert await meaning(reading, axis(0)) == ["same", "near", "opposite"]

    async def test_vectors_of_another_model_are_not_compared(
        self, put: Put, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        await put(document())
        async with sessions.begin() as session:
            await session.execute(text("UPDATE search_documents SET model = 'another@7'"))
        assert await meaning(reading, axis(0)) == []

    async def test_the_index_gives_all_that_was_asked_for_though_a_filter_leaves_few(
        self, sessions: db.Sessions, reading: AsyncSession
    ) -> None:
        random = np.random.default_rng(1)
        async with sessions.begin() as session:
            for number in range(1, 601):
                vector = random.normal(size=DIMENSIONS)
                vector /= np.linalg.norm(vector)
                service = "rare" if number % 20 == 0 else "common"
                await repository.put(session, document(number, service=service), vector.astype(np.float32))
        # The planner would choose the exact scan for so few rows: what is tried here is the index.
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            await reading.execute(text(f"SET {setting} = off"))
        try:
            found = await meaning(reading, axis(0), Filters(service="rare"), limit=30)
        finally:
            await reading.execute(text("RESET ALL"))
        assert len(found) == 30


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (ALL, ["a", "b", "c"]),
        (Filters(kinds=["anomaly"]), ["c"]),
        (Filters(kinds=["requirement", "anomaly"]), ["a", "b", "c"]),
        (Filters(service="checkout"), ["a", "c"]),
        (Filters(team="payments"), ["a"]),
        (Filters(kinds=["requirement"], service="checkout", team="payments"), ["a"]),
        (Filters(service="nowhere"), []),
    ],
)
async def test_filters_hold_in_both_legs(
    put: Put, reading: AsyncSession, filters: Filters, expected: list[str]
) -> None:
    await put(document(1, title="a", service="checkout", team="payments"))
    await put(document(2, title="b", service="stock"))
    await put(document(3, title="c", service="checkout", kind="anomaly"))
    assert sorted(await words(reading, "payments", filters)) == expected
    assert sorted(await meaning(reading, axis(0), filters)) == expected


class TestDescribed:
    async def test_matches_are_marked_in_a_fragment(self, put: Put, reading: AsyncSession) -> None:
        await put(document(body="word " * 200 + "the checkout was slow " + "word " * 200))
        (hit,) = await repository.by_words(reading, "slow", ALL, 10)
        row = (await repository.described(reading, [hit.id], "slow"))[hit.id]
        assert f"{START}slow{STOP}" in row.snippet
        assert len(row.snippet) < 400

    async def test_without_a_match_the_beginning_is_shown(self, put: Put, reading: AsyncSession) -> None:
        await put(document(body="The beginning. " + "word " * 200))
        (hit,) = await repository.by_meaning(reading, axis(0), ALL, 10)
        for query in ("elsewhere", "the of"):
            row = (await repository.described(reading, [hit.id], query))[hit.id]
            assert row.snippet.startswith("The beginning.")
            assert len(row.snippet) < 400


async def test_a_requirement_is_named_by_key_and_title(
    put: Put, sessions: db.Sessions, reading: AsyncSession
) -> None:
    await put(document(key="REQ-42"))
    assert await repository.name_of_requirement(reading, UUID(int=1)) == "REQ-42 Checkout answers fast"
    assert await repository.name_of_requirement(reading, UUID(int=2)) is None
    async with sessions.begin() as session:
        await repository.bury(session, "requirement", UUID(int=1), 2, NOW)
    assert await repository.name_of_requirement(reading, UUID(int=1)) is None
