import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from plumbline_search.documents import indexing
from plumbline_search.documents.content import Document
from plumbline_search.indexes.serving import Serving

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEARCH = "/api/v1/search"

CHECKOUT = Document(
    kind="requirement",
    entity_id=UUID(int=1),
    revision=3,
    updated_at=NOW,
    key="REQ-42",
    title="Checkout answers fast",
    body="When a customer pays, the checkout shall answer within 300 ms.",
    service="checkout",
    team="payments",
    state="active",
    facets={"type": "latency"},
)
DOCUMENTS = [
    CHECKOUT,
    replace(
        CHECKOUT,
        entity_id=UUID(int=2),
        kind="anomaly",
        key=None,
        title="Latency of checkout far above its band",
        body="critical anomaly: p95 of http.server.request.duration higher than expected",
        team=None,
        state="open",
    ),
    replace(
        CHECKOUT,
        entity_id=UUID(int=3),
        key="REQ-43",
        title="Backups are kept",
        body="The archive shall keep each backup for one year. <script>alert('backup')</script>",
        service="archive",
        team="storage",
    ),
    replace(
        CHECKOUT,
        entity_id=UUID(int=4),
        key="REQ-44",
        title="Disks never fill up",
        body="The database host shall warn at 80 % of its storage.",
        service="database",
        team="storage",
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def indexed(app: FastAPI) -> None:
    serving: Serving = app.state.serving
    for document in DOCUMENTS:
        found_by = await indexing.read(serving, document.key, document.title, document.body)
        async with app.state.sessions.begin() as session:
            assert await indexing.index(session, serving, document, found_by)


async def found(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:
    response = await client.post(SEARCH, json=request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_other_words_find_both_requirement_and_anomaly(client: httpx.AsyncClient) -> None:
    answer = await found(client, query="payments are slow after the release")
    assert {item["entity_id"] for item in answer["items"][:2]} == {str(UUID(int=1)), str(UUID(int=2))}
    assert answer["total"] == len(DOCUMENTS)


async def test_a_hit_says_what_it_is_and_why_it_was_found(client: httpx.AsyncClient) -> None:
    answer = await found(client, query="how fast must the checkout answer", kinds=["requirement"])
    item = answer["items"][0]
    score, legs = item.pop("score"), item.pop("legs")
    assert item == {
        "kind": "requirement",
        "entity_id": str(UUID(int=1)),
        "revision": 3,
        "key": "REQ-42",
        "title": "Checkout answers fast",
        "highlights": {
            "title": "<mark>Checkout</mark> <mark>answers</mark> <mark>fast</mark>",
            "fragments": ["When a customer pays, the <mark>checkout</mark> shall <mark>answer</mark> within 300 ms."],
        },
        "facets": {"type": "latency"},
        "service": "checkout",
        "team": "payments",
        "state": "active",
        "updated_at": "2026-03-01T12:00:00Z",
        "external_id": None,
        "url": None,
        "explanation": None,
    }
    assert 0 < score <= 1
    assert legs["lexical"]["score"] > 0
    assert legs["lexical"]["rank"] == 1
    assert 0.3 < legs["vector"]["score"] <= 1


async def test_script_in_a_document_is_shown_as_text(client: httpx.AsyncClient) -> None:
    answer = await found(client, query="backup", service="archive")
    (snippet,) = answer["items"][0]["highlights"]["fragments"]
    assert "<script" not in snippet
    assert "&lt;script&gt;" in snippet
    assert "<mark>backup</mark>" in snippet


async def test_the_answer_says_where_the_time_went(client: httpx.AsyncClient) -> None:
    took = (await found(client, query="storage"))["took_ms"]
    assert set(took) == {"embedding", "lexical", "vector", "documents", "highlights", "total"}
    assert all(value >= 0 for value in took.values())
    assert took["total"] >= took["vector"] + took["documents"]


async def test_stop_words_alone_are_answered_by_meaning(client: httpx.AsyncClient) -> None:
    answer = await found(client, query="what is it about")
    assert answer["total"] == len(DOCUMENTS)
    assert all(item["legs"]["lexical"] is None for item in answer["items"])


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"kinds": ["anomaly"]}, {2}),
        ({"kinds": ["requirement", "anomaly"]}, {1, 2, 3, 4}),
        ({"service": "checkout"}, {1, 2}),
        ({"team": "storage"}, {3, 4}),
        ({"team": "storage", "service": "archive"}, {3}),
        ({"kinds": ["runbook"]}, set()),
    ],
)
async def test_filters_leave_what_they_name(
    client: httpx.AsyncClient, filters: dict[str, Any], ids: set[int]
) -> None:
    answer = await found(client, query="latency", **filters)
    assert {item["entity_id"] for item in answer["items"]} == {str(UUID(int=id)) for id in ids}
    assert answer["total"] == len(ids)


async def test_pages_follow_each_other_and_end(client: httpx.AsyncClient) -> None:
    whole = await found(client, query="storage")
    pages = [await found(client, query="storage", skip=skip, limit=1) for skip in range(5)]
    assert [page["total"] for page in pages] == [4] * 5
    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert pages[4]["items"] == []


async def test_get_answers_what_post_answers(client: httpx.AsyncClient) -> None:
    by_post = await found(client, query="slow checkout", kinds=["requirement"], service="checkout", limit=1)
    response = await client.get(
        SEARCH, params={"q": "slow checkout", "kind": "requirement", "service": "checkout", "limit": 1}
    )
    assert response.status_code == 200
    assert response.json()["items"] == by_post["items"]


@pytest.mark.parametrize(
    ("roles", "status"), [(("viewer",), 200), (("editor",), 200), (("admin",), 200), (("ingest",), 403), ((), 403)]
)
async def test_a_viewer_may_search(
    client: httpx.AsyncClient, issuer: Any, roles: tuple[str, ...], status: int
) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(*roles)}"}
    for response in (
        await client.post(SEARCH, json={"query": "x"}, headers=headers),
        await client.get(SEARCH, params={"q": "x"}, headers=headers),
    ):
        assert response.status_code == status


async def test_without_a_token_nothing_is_found(client: httpx.AsyncClient) -> None:
    assert (await client.post(SEARCH, json={"query": "x"}, headers={"Authorization": ""})).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        "a & | ! <-> ( ) :* 'x' \\",
        "'; DROP TABLE search_documents; --",
        "checkout:*B & !slow | (a <2> b)",
        "!!!",
        "🔥🚨",
        "نص من اليمين إلى اليسار",
        "\u202etxet\u200b\ufeff",
        "\u0001\u001f",
        "<script>alert(1)</script>",
        "x" * 4000,
        "\u00e9" * 4000,
        "word " * 799,
    ],
)
async def test_any_query_is_answered(client: httpx.AsyncClient, query: str) -> None:
    assert (await found(client, query=query))["total"] == len(DOCUMENTS)
    assert (await client.get(SEARCH, params={"q": query})).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"query": ""}', "/query"),
        (b'{"query": " \\n\\t"}', "/query"),
        (b'{"query": "a\\u0000b"}', "/query"),
        (b'{"query": "\\ud800"}', "/query"),
        (b'{"query": "' + b"x" * 4001 + b'"}', "/query"),
        (b'{"query": 1}', "/query"),
        (b'{"query": null}', ""),
        (b"{}", ""),
        (b'{"query": "x", "vector": [1, 2]}', "/vector"),
        (b'{"vector": [' + b"0," * 383 + b"0]}", ""),
        (b'{"vector": [' + b"1," * 383 + b'1], "legs": ["lexical"]}', ""),
        (b'{"query": "x", "legs": []}', "/legs"),
        (b'{"query": "x", "legs": ["smell"]}', "/legs/0"),
        (b'{"query": "x", "facets": ["colour"]}', "/facets"),
        (b'{"query": "x", "filter": {"facet": "colour", "exists": true}}', "/filter"),
        (b'{"query": "x", "filter": {"facet": "service"}}', "/filter"),
        (b'{"query": "x", "filter": ' + b'{"not":' * 900 + b"1" + b"}" * 901, "/filter"),
        (b'{"query": "x", "filter": ' + b'{"not":' * 90_000 + b"1" + b"}" * 90_001, ""),
        (b'{"query": "x", "fusion": {"lexical_weight": 2}}', "/fusion/lexical_weight"),
        (b'{"query": "x", "limit": 0}', "/limit"),
        (b'{"query": "x", "limit": -1}', "/limit"),
        (b'{"query": "x", "limit": 101}', "/limit"),
        (b'{"query": "x", "limit": 1e400}', "/limit"),
        (b'{"query": "x", "limit": NaN}', "/limit"),
        (b'{"query": "x", "skip": -1}', "/skip"),
        (b'{"query": "x", "skip": 99999999999999999999}', "/skip"),
        (b'{"query": "x", "kinds": []}', "/kinds"),
        (b'{"query": "x", "kinds": ["poem"]}', "/kinds/0"),
        (b'{"query": "x", "service": ""}', "/service"),
        (b'{"query": "x", "service": "a\\u0000"}', "/service"),
        (b'{"query": "x", "surprise": true}', "/surprise"),
        (b"[]", ""),
        (b'"x"', ""),
        (b"", ""),
        (b'{"query": ', ""),
        (b'{"query": "\xff\xfe"}', ""),
    ],
)
async def test_a_malformed_request_is_told_where(client: httpx.AsyncClient, body: bytes, pointer: str) -> None:
    response = await client.post(SEARCH, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"].startswith("urn:plumbline:problem:")
    if response.status_code == 422:
        assert pointer in {error.get("pointer", "") for error in problem["errors"]}


async def test_a_query_of_10_mb_is_refused_unread(client: httpx.AsyncClient) -> None:
    response = await client.post(SEARCH, json={"query": "x" * 10_000_000})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query", ["q=", "q=%00", "q=%20", "", "q=x&limit=0", "q=x&skip=-1", "q=x&kind=poem", "q=x&limit=a"]
)
async def test_a_malformed_address_is_refused(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"{SEARCH}?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["q=%ff%fe", "q=%ed%a0%80", "q=x&surprise=1"])
async def test_an_address_of_broken_utf8_is_no_fault_of_ours(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{SEARCH}?{query}")).status_code in (200, 422)


async def test_many_searches_at_once_are_all_answered(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(found(client, query=f"slow checkout {number}") for number in range(60)))
    assert all(answer["total"] == len(DOCUMENTS) for answer in answers)


async def test_when_too_many_wait_the_service_says_so(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.models.configured, "_waiting", 0)
    response = await client.post(SEARCH, json={"query": "never asked before"})
    assert response.status_code == 503
    assert response.json()["type"] == "urn:plumbline:problem:embedding-busy"
    assert "retry-after" in response.headers
