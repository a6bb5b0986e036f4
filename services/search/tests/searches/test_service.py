import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from indexed import NOW, OneIndex, Put, answered, axis, document, near
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.documents import indexing
from plumbline_search.embedding.embedder import Embedder, TooBusy
from plumbline_search.embedding.encoder import Vectors
from plumbline_search.embedding.model_store import DIMENSIONS
from plumbline_search.passages import memory as memories
from plumbline_search.postings import merging
from plumbline_search.postings.reading import Reader
from plumbline_search.searches import counting, legs, repository, service
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.schemas import SearchRequest, SearchResponse

ASKED = axis(0)


async def encode(texts: list[str]) -> Vectors:
    return np.repeat(ASKED[np.newaxis], len(texts), axis=0)


def caller(*teams: str, role: str = "viewer") -> UserInfo:
    return UserInfo("alice", frozenset({role}), frozenset(teams))


ALICE = caller()


async def ask(session: AsyncSession, *, actor: UserInfo = ALICE, **request: Any) -> SearchResponse:
    """Every query means `ASKED`."""
    async with Embedder(encode) as embedder:
        return await answered(session, Tools(OneIndex(embedder)), SearchRequest.model_validate(request), actor)


async def titles(session: AsyncSession, **request: Any) -> list[str]:
    return [hit.title for hit in (await ask(session, **request)).items]


async def words(session: AsyncSession, query: str, **request: Any) -> list[str]:
    return await titles(session, query=query, legs=["lexical"], **request)


async def meaning(session: AsyncSession, **request: Any) -> list[str]:
    return await titles(session, query="x", legs=["vector"], **request)


async def staged(session: AsyncSession) -> int:
    count: int = (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one()
    return count


async def test_what_was_stored_is_announced_once(put: Put, reading: AsyncSession) -> None:
    for _ in range(2):
        await put(document())
    assert await staged(reading) == 1


async def test_a_removed_document_is_found_no_more(put: Put, sessions: db.Sessions, reading: AsyncSession) -> None:
    await put(document())
    before = await ask(reading, query="checkout")
    async with sessions.begin() as session:
        await indexing.remove(session, "requirement", UUID(int=1), 1, NOW)
    after = await ask(reading, query="checkout")
    assert (before.total, after.total) == (1, 0)
    assert after.items == []


class TestWords:
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
        answer = await ask(reading, query="the and of", legs=["lexical"])
        assert (answer.items, answer.total, answer.total_is) == ([], 0, "exact")

    @pytest.mark.parametrize(
        "query",
        [
            "a & | ! <-> ( ) :* 'x' \\ \\' '' \"",
            "'; DROP TABLE search_documents; --",
            "C:\\windows\\path \\x00 /usr/lib/x%20y?a='b'&c=\"d\"",
            "<b>bold</b> &amp; https://example.org/a'b\\c?d='e' o'brien@example.org",
            "\U0001f525\U0001f6a8 نص من اليمين",
            "\u0001\u0002\u200b\u202e",
            "word " * 790,
            "w" * 4000,
        ],
    )
    async def test_no_character_of_a_query_is_syntax(self, put: Put, reading: AsyncSession, query: str) -> None:
        await put(document(body=query))
        assert await titles(reading, query=query) == ["Checkout answers fast"]

    async def test_the_total_counts_what_holds_any_word(self, put: Put, reading: AsyncSession) -> None:
        for number in range(1, 6):
            await put(document(number, title="checkout" if number < 4 else "backup", body="", service="a"))
        for filters in ({}, {"service": "a"}):
            answer = await ask(reading, query="checkout", legs=["lexical"], limit=2, **filters)
            assert (len(answer.items), answer.total, answer.total_is) == (2, 3, "exact")


class TestSyntax:
    @pytest.fixture
    async def four(self, put: Put) -> None:
        texts = (
            "The front door is slow",
            "The door in front; slow",
            "Slow checkout",
            "KubePodCrashLooping in slow_log",
        )
        for number, title in enumerate(texts, 1):
            await put(document(number, title=title, body="", service="checkout" if number < 3 else None))

    @pytest.mark.parametrize("legs", [None, ["vector"], ["lexical"]])
    @pytest.mark.parametrize("few", [3_000, 1])
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ('slow "front door"', {1}),
            ('"FRONT: door"', {1}),
            ('slow "front"', {1, 2}),
            ("slow -front", {3, 4}),
            ("slow -crash", {1, 2, 3}),
            ('slow -"front door"', {2, 3, 4}),
            ('slow "door" -"front door"', {2}),
        ],
    )
    async def test_phrases_must_be_there_and_exclusions_not(
        self,
        four: None,
        reading: AsyncSession,
        monkeypatch: pytest.MonkeyPatch,
        legs: list[str] | None,
        few: int,
        query: str,
        found: set[int],
    ) -> None:
        monkeypatch.setattr(counting, "FEW", few)
        answer = await ask(reading, query=query, legs=legs)
        assert {hit.entity_id.int for hit in answer.items} == found
        assert answer.total == len(found) or answer.total_is == "at_least"
        assert answer.total <= len(found)

    async def test_a_filter_holds_beside_a_phrase(self, four: None, reading: AsyncSession) -> None:
        assert (await ask(reading, query='"slow"', service="checkout")).total == 2

    async def test_a_phrase_that_nothing_holds_is_said_and_its_words_are_looked_for(
        self, four: None, reading: AsyncSession
    ) -> None:
        answer = await ask(reading, query='"slow door" checkout', legs=["lexical"])
        assert answer.ignored == ["slow door"]
        assert answer.total == 4

    async def test_a_beginning_stands_for_all_words_that_begin_so(
        self, four: None, put: Put, reading: AsyncSession, sessions: db.Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def found(query: str) -> set[int]:
            return {hit.entity_id.int for hit in (await ask(reading, query=query, legs=["lexical"])).items}

        assert await found("kubepodcr*") == {4}
        assert await found("check*") == {3}
        assert await found("100%*") == set()
        monkeypatch.setattr(merging, "FRESH", 4)
        await merging.Merger(sessions).step()
        await put(document(5, title="Kubepodcreated", body=""))
        assert await found("kubepodcr*") == {4, 5}

    async def test_a_word_that_nothing_holds_is_taken_for_misspelt_where_few_match(
        self, four: None, put: Put, reading: AsyncSession
    ) -> None:
        answer = await ask(reading, query="Chekouts", legs=["lexical"])
        assert [hit.entity_id.int for hit in answer.items] == [3]
        assert answer.corrections == {"Chekouts": ["checkout"]}
        assert answer.items[0].highlights.title == "Slow <mark>checkout</mark>"
        assert (await ask(reading, query="slow chekout", legs=["lexical"])).corrections == {}
        assert (await ask(reading, query="zzyzx", legs=["lexical"])).items == []

    async def test_where_nothing_is_found_it_says_what_to_leave_out(self, four: None, reading: AsyncSession) -> None:
        answer = await ask(reading, query="slow", service="checkout", kinds=["runbook"], team="nobody")
        assert answer.items == []
        assert answer.suggestions == []
        answer = await ask(reading, query="slow", service="checkout", kinds=["runbook"])
        assert [(each.without, each.total) for each in answer.suggestions] == [("kinds", 2)]
        assert (await ask(reading, query="slow", service="checkout")).suggestions == []


class TestMeaning:
    async def test_the_nearest_come_first_with_their_cosine(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="same"), ASKED)
        await put(document(2, title="near"), near(ASKED, 0.8))
        await put(document(3, title="opposite"), -ASKED)
        answer = await ask(reading, query="x", legs=["vector"])
        assert [hit.title for hit in answer.items] == ["same", "near", "opposite"]
        found = [(hit.legs.vector.score, hit.legs.vector.rank) for hit in answer.items if hit.legs.vector]
        assert found == [(pytest.approx(score, abs=1e-3), rank) for rank, score in ((1, 1), (2, 0.8), (3, -1))]
        assert all(hit.legs.lexical is None for hit in answer.items)

    async def test_a_document_is_as_near_as_its_nearest_passage(self, put: Put, reading: AsyncSession) -> None:
        long = "\n\n".join(f"part{number} " * 150 for number in range(3))
        await put(document(1, title="long", body=long), np.stack([axis(7), near(ASKED, 0.9), axis(8)]))
        await put(document(2, title="short"), near(ASKED, 0.5))
        answer = await ask(reading, query="x", legs=["vector"])
        assert [hit.title for hit in answer.items] == ["long", "short"]

    async def test_a_vector_may_be_given_of_any_length(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="a"), axis(1))
        await put(document(2, title="b"), axis(2))
        given = (axis(2) * 40).tolist()
        assert await titles(reading, vector=given) == ["b", "a"]


class TestNeverFewerThanAskedFor:
    """The documents that the filter names are as far from the query as can be."""

    @pytest.fixture
    async def crowd(self, sessions: db.Sessions, put: Put) -> None:
        random = np.random.default_rng(1)
        for number in range(1, 601):
            rare = number % 20 == 0
            vector = random.normal(size=DIMENSIONS)
            vector[0] = -40 if rare else 40
            vector /= np.linalg.norm(vector)
            service = "rare" if rare else "common"
            await put(document(number, service=service, title=f"t{number}"), vector.astype(np.float32))

    async def test_by_meaning(self, crowd: None, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """Compared each; by what is in memory; and by the index, which gives up before it reaches any of them."""
        # The planner would choose the exact scan for so few rows: what is tried here is the index.
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            await reading.execute(text(f"SET {setting} = off"))
        await reading.execute(text("SET hnsw.max_scan_tuples = 50"))
        try:
            for few, widest, loaded, by in (
                (3_000, 0, 500, "comparing"),
                (5, 20_000, 1_000, "codes"),
                (5, 100, 1_000, "codes, then comparing"),
                (5, 0, -1, "index, then comparing"),
            ):
                monkeypatch.setattr(counting, "FEW", few)
                monkeypatch.setattr(legs, "WIDEST", widest)
                monkeypatch.setattr(memories, "LOADED_BY_SEARCH", loaded)
                for filters in ({"service": "rare"}, {"filter": {"not": {"facet": "service", "in": ["common"]}}}):
                    answer = await ask(reading, query="x", legs=["vector"], limit=25, explain=True, **filters)
                    assert answer.explanation is not None
                    assert answer.explanation.selected_by == by
                    assert len(answer.items) == 25
                    assert {hit.service for hit in answer.items} == {"rare"}
                    assert (answer.total, answer.total_is) == ((30, "exact") if few > 30 else (few, "at_least"))
        finally:
            await reading.execute(text("RESET ALL"))

    async def test_by_words_and_page_after_page(
        self, crowd: None, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for few in (5, 3_000):
            monkeypatch.setattr(counting, "FEW", few)
            answer = await ask(reading, query="payments", legs=["lexical"], service="rare", limit=25)
            assert len(answer.items) == 25
            assert {hit.service for hit in answer.items} == {"rare"}
        # Every document comes once.
        for asked in (None, ["vector"], ["lexical"]):
            pages = [
                await titles(reading, query="payments", legs=asked, skip=skip, limit=100)
                for skip in range(0, 700, 100)
            ]
            assert [len(page) for page in pages] == [100] * 6 + [0]
            assert len({title for page in pages for title in page}) == 600

    async def test_though_documents_have_many_passages(self, put: Put, reading: AsyncSession) -> None:
        for number in range(1, 8):
            await put(document(number, body="words " * 4000), near(ASKED, 1 - number / 100))
        assert len(await meaning(reading, limit=7)) == 7


class TestFusion:
    async def test_both_legs_say_what_they_know_of_a_hit(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="checkout", body=""), axis(3))
        await put(document(2, title="elsewhere", body=""), near(ASKED, 0.9))
        answer = await ask(reading, query="checkout")
        legs = {hit.title: hit.legs for hit in answer.items}
        assert legs["elsewhere"].lexical is None
        assert legs["checkout"].lexical is not None
        assert legs["checkout"].vector is not None
        assert (legs["checkout"].lexical.rank, legs["checkout"].vector.rank) == (1, 2)

    async def test_the_weight_of_a_leg_is_the_callers(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, title="checkout", body=""), axis(3))
        await put(document(2, title="elsewhere", body=""), near(ASKED, 0.9))
        for method in ("scores", "ranks"):
            for weight, first in ((1, "checkout"), (0, "elsewhere")):
                found = await titles(reading, query="checkout", fusion={"method": method, "lexical_weight": weight})
                assert found[0] == first

    async def test_of_equals_the_active_and_the_recent_come_first(self, put: Put, reading: AsyncSession) -> None:
        await put(document(1, state="active"))
        await put(document(2, state="retired"))
        await put(document(3, state=None))
        await put(document(4, state="active", updated_at=NOW + timedelta(days=3000)))
        answer = await ask(reading, query="checkout")
        assert [hit.entity_id.int for hit in answer.items] == [4, 1, 3, 2]


@pytest.mark.parametrize(("few", "loaded"), [(3_000, 500), (1, 500), (1, -1)])
@pytest.mark.parametrize("legs", [None, ["vector"], ["lexical"]])
async def test_a_caller_finds_only_what_they_may_read(
    put: Put, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch, few: int, loaded: int, legs: list[str] | None
) -> None:
    """Compared each, by what is in memory, and by the index."""
    monkeypatch.setattr(memories, "LOADED_BY_SEARCH", loaded)
    monkeypatch.setattr(counting, "FEW", few)
    monkeypatch.setattr(counting, "COUNTED", few)
    await put(document(1, title="for all"))
    await put(document(2, title="for payments", readers=["payments", "fraud"]))
    await put(document(3, title="for storage", readers=["storage"]))
    for actor, found in (
        (caller(), ["for all"]),
        (caller("payments"), ["for all", "for payments"]),
        (caller("payments", "storage"), ["for all", "for payments", "for storage"]),
        (caller(role="admin"), ["for all", "for payments", "for storage"]),
    ):
        answer = await ask(reading, actor=actor, query="checkout payments", legs=legs, facets=["kind"])
        assert sorted(hit.title for hit in answer.items) == found
        assert answer.total == len(found) if few > 1 or len(found) == 1 else answer.total_is == "at_least"
        assert [count.count for count in answer.facets["kind"]] == [len(found)]


async def test_facets_count_what_matches_the_filters(put: Put, reading: AsyncSession) -> None:
    for number, tags in enumerate((["db", "disk"], ["disk"], []), 1):
        await put(document(number, service="checkout", team=f"team{number % 2}", facets={"tags": tags, "n": number}))
    await put(document(4, service="elsewhere", facets={"tags": ["disk"]}))
    answer = await ask(reading, query="x", service="checkout", facets=["tags", "team", "n", "kind", "updated_at"])
    counted = {facet: {count.value: count.count for count in counts} for facet, counts in answer.facets.items()}
    assert counted["tags"] == {"disk": 2, "db": 1}
    assert counted["team"] == {"team1": 2, "team0": 1}
    assert counted["n"] == {1: 1, 2: 1, 3: 1}
    assert counted["kind"] == {"requirement": 3}


async def test_a_facet_that_no_document_has_is_refused(put: Put, reading: AsyncSession) -> None:
    await put(document(facets={"severity": "critical"}))
    assert await titles(reading, query="x", filter={"facet": "severity", "in": ["warning"]}) == []
    for request in ({"filter": {"facet": "colour", "exists": True}}, {"facets": ["colour"]}):
        with pytest.raises(service.UnknownFacet, match="colour"):
            await ask(reading, query="x", **request)


async def test_a_total_that_is_not_counted_to_its_end_says_so(
    put: Put, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 8):
        await put(document(number))
    monkeypatch.setattr(counting, "FEW", 5)
    monkeypatch.setattr(counting, "COUNTED", 5)
    answer = await ask(reading, query="checkout")
    assert (answer.total, answer.total_is, len(answer.items)) == (5, "at_least", 7)
    answer = await ask(reading, query="checkout", legs=["lexical"])
    assert (answer.total, answer.total_is, len(answer.items)) == (5, "at_least", 7)


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
        await answered(reading, Tools(OneIndex(embedder)), SearchRequest(query="checkout"), ALICE)
    assert open_transactions == [0]


async def test_words_are_looked_up_while_the_query_is_embedded(sessions: db.Sessions, reading: AsyncSession) -> None:
    looked_up = asyncio.Event()

    class Observed(Reader):
        async def matches(self, *arguments: Any) -> Any:
            found = await super().matches(*arguments)
            looked_up.set()
            return found

    async def waits_for_the_words(texts: list[str]) -> Vectors:
        await asyncio.wait_for(looked_up.wait(), 5)
        return await encode(texts)

    async with Embedder(waits_for_the_words) as embedder:
        answer = await answered(
            reading, Tools(OneIndex(embedder), Observed()), SearchRequest(query="checkout"), ALICE
        )
    assert answer.total == 0


async def test_a_query_that_cannot_be_embedded_is_refused_and_the_session_stays_usable(
    reading: AsyncSession,
) -> None:
    async with Embedder(encode, waiting=0) as embedder:
        with pytest.raises(TooBusy):
            await answered(reading, Tools(OneIndex(embedder)), SearchRequest(query="checkout"), ALICE)
    assert await staged(reading) == 0


async def test_a_document_that_goes_between_the_legs_and_the_page_is_left_out(
    put: Put, sessions: db.Sessions, reading: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(document())
    standing = repository.standing

    async def then_deleted(*arguments: Any) -> Any:
        found = await standing(*arguments)
        async with sessions.begin() as session:
            await indexing.remove(session, "requirement", UUID(int=1), 1, NOW)
        return found

    monkeypatch.setattr(repository, "standing", then_deleted)
    assert (await ask(reading, query="checkout")).items == []
