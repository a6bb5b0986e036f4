"""What is like a document, and how past anomalies ended."""

from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import OneIndex, Put, axis, document, near
from plumbline_common.auth import UserInfo
from plumbline_search.searches import similar
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.schemas import SimilarPage

ALICE = UserInfo("alice", frozenset({"viewer"}), frozenset({"payments"}))


async def like(session: AsyncSession, number: int, skip: int = 0, limit: int = 50, **asked: Any) -> SimilarPage:
    kinds, service = asked.get("kinds"), asked.get("service")
    return await similar.page(session, Tools(OneIndex()), UUID(int=number), kinds, service, ALICE, skip, limit)


def numbers(page: SimilarPage) -> list[int]:
    return [item.entity_id.int for item in page.items]


async def test_the_most_similar_comes_first_and_the_document_itself_does_not(put: Put, reading: AsyncSession) -> None:
    await put(document(1), axis(0))
    for number, cosine in ((2, 0.7), (3, 0.95), (4, 0.6), (5, 0.3)):
        await put(document(number), near(axis(0), cosine, number))
    page = await like(reading, 1)
    assert numbers(page) == [3, 2, 4]
    assert page.total == 3
    assert page.items[0].similarity == pytest.approx(0.95, abs=1e-3)
    assert numbers(await like(reading, 1, skip=1, limit=1)) == [2]
    assert numbers(await like(reading, 2)) == [1, 3]


async def test_any_passage_may_be_the_one_that_is_alike(put: Put, reading: AsyncSession) -> None:
    long = "word " * 400
    await put(document(1, body=long), np.stack([axis(0), axis(1)]))
    await put(document(2, kind="runbook", body=long), np.stack([axis(5), near(axis(1), 0.9, 7)]))
    page = await like(reading, 1)
    assert [(item.entity_id.int, round(item.similarity, 2)) for item in page.items] == [(2, 0.9)]


async def test_kind_and_service_narrow_it(put: Put, reading: AsyncSession) -> None:
    await put(document(1, service="checkout"))
    await put(document(2, kind="runbook", service="checkout"))
    await put(document(3, kind="anomaly", service="checkout"))
    await put(document(4, kind="anomaly", service="payments"))
    assert set(numbers(await like(reading, 1, kinds=["runbook", "anomaly"]))) == {2, 3, 4}
    assert numbers(await like(reading, 1, kinds=["anomaly"], service="payments")) == [4]


async def test_requirements_that_say_the_same_are_called_so(put: Put, reading: AsyncSession) -> None:
    await put(document(1, service="checkout"), axis(0))
    await put(document(2, service="checkout"), near(axis(0), 0.86, 2))
    await put(document(3, service="payments"), near(axis(0), 0.85, 3))
    await put(document(4, kind="runbook", service="checkout"), near(axis(0), 0.84, 4))
    page = await like(reading, 1)
    assert [(item.entity_id.int, item.suspected_duplicate) for item in page.items] == [
        (2, True),
        (3, False),
        (4, False),
    ]
    assert page.items[0].shared_words == ["checkout", "answers", "fast", "payments", "within", "300", "ms"]
    assert page.items[0].fragments == ["<mark>Payments</mark> <mark>within</mark> <mark>300</mark> <mark>ms</mark>."]


async def test_past_anomalies_say_how_they_ended(put: Put, reading: AsyncSession) -> None:
    over = {"onset": "2026-03-01T12:00:00.000000Z", "ended": "2026-03-01T12:30:00.000000Z", "minutes": 30.0}
    await put(document(1, kind="anomaly", state="open"))
    await put(document(2, kind="anomaly", state="resolved", facets=over))
    await put(document(3, kind="anomaly", state="open"))
    page = await like(reading, 1, kinds=["anomaly"])
    ended = {item.entity_id.int: item.ended for item in page.items}
    assert ended[3] is None
    assert ended[2] is not None
    assert (ended[2].state, ended[2].minutes) == ("resolved", 30)


async def test_what_may_not_be_read_is_neither_found_nor_compared(put: Put, reading: AsyncSession) -> None:
    await put(document(1, kind="runbook"))
    await put(document(2, kind="runbook", readers=["storage"]))
    await put(document(3, kind="runbook", readers=["payments"]))
    assert numbers(await like(reading, 1)) == [3]
    with pytest.raises(similar.NoSuchDocument):
        await like(reading, 2)
    with pytest.raises(similar.NoSuchDocument):
        await similar.page(reading, Tools(OneIndex()), uuid4(), None, None, ALICE, 0, 10)
