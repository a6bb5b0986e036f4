import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from plumbline_common.auth import UserInfo
from plumbline_search.documents import service
from plumbline_search.embedding import embedder as embedder_module

DOCUMENTS = "/api/v1/documents"
RUNBOOK = f"{DOCUMENTS}/runbook/ops/disk-full.md"
CONTENT = {
    "title": "Disk full",
    "body": "# Impact\nWrites fail.\n# Mitigation\nDelete old logs with `logrotate --force`.",
    "url": "https://git.example.org/ops/disk-full.md",
    "service": "database",
    "team": "storage",
    "facets": {"severity": "critical", "tags": ["disk", "linux"], "minutes": 15},
    "updated_at": "2026-03-01T12:00:00Z",
}


def client_of(app: FastAPI, issuer: Any, role: str, *teams: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://search",
        headers={"Authorization": f"Bearer {issuer.token(role, teams=list(teams))}"},
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def editor(app: FastAPI, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, issuer, "editor", "storage") as client:
        yield client


async def hits(client: httpx.AsyncClient, query: str, **request: Any) -> list[dict[str, Any]]:
    response = await client.post("/api/v1/search", json={"query": query, **request})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def sent(client: httpx.AsyncClient, *lines: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The result of each line, and the sums."""
    raw = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    response = await client.post(f"{DOCUMENTS}/lines", content=raw, headers=headers)
    assert response.status_code == 200, response.text
    *results, sums = map(json.loads, response.text.splitlines())
    return results, sums


def line(external_id: str, **content: Any) -> dict[str, Any]:
    return {"kind": "runbook", "external_id": external_id, "content": {"title": "Line", **content}}


async def test_what_was_put_is_found_when_that_is_answered(editor: httpx.AsyncClient) -> None:
    created = await editor.put(RUNBOOK, json=CONTENT)
    assert created.status_code == 201, created.text
    assert created.headers["etag"] == '"1"'
    (hit,) = await hits(editor, "logrotate", legs=["lexical"], kinds=["runbook"])
    assert (hit["external_id"], hit["url"], hit["revision"]) == ("ops/disk-full.md", CONTENT["url"], 1)
    assert hit["facets"] == CONTENT["facets"]
    assert hit["highlights"]["fragments"] == [
        "# Impact\nWrites fail.\n# Mitigation\nDelete old logs with `<mark>logrotate</mark> --force`."
    ]
    got = await editor.get(RUNBOOK)
    assert got.json() == created.json()
    assert got.headers["etag"] == '"1"'
    same = await editor.put(RUNBOOK, json=CONTENT)
    assert (same.status_code, same.headers["etag"]) == (200, '"1"')
    changed = await editor.put(RUNBOOK, json=CONTENT | {"body": "Ask the storage team."}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert await hits(editor, "logrotate", legs=["lexical"]) == []
    gone = await editor.delete(RUNBOOK, headers={"If-Match": '"2"'})
    assert gone.status_code == 204
    assert (await editor.get(RUNBOOK)).status_code == 404
    assert (await editor.delete(RUNBOOK)).status_code == 404
    assert await hits(editor, "storage team", legs=["lexical"], kinds=["runbook"]) == []
    again = await editor.put(RUNBOOK, json=CONTENT)
    assert (again.status_code, again.headers["etag"]) == (201, '"3"')
    assert (await editor.delete(RUNBOOK)).status_code == 204


async def test_a_precondition_that_does_not_hold_changes_nothing(editor: httpx.AsyncClient) -> None:
    path = f"{DOCUMENTS}/runbook/matched"
    assert (await editor.put(path, json=CONTENT, headers={"If-Match": "*"})).status_code == 412
    assert (await editor.put(path, json=CONTENT)).status_code == 201
    for send in (
        editor.put(path, json=CONTENT | {"title": "Other"}, headers={"If-Match": '"9"'}),
        editor.delete(path, headers={"If-Match": '"9"'}),
    ):
        response = await send
        assert (response.status_code, response.headers["etag"]) == (412, '"1"')
    assert (await editor.get(path)).json()["title"] == "Disk full"


async def test_of_writers_at_once_each_is_answered_and_one_text_remains(editor: httpx.AsyncClient) -> None:
    path = f"{DOCUMENTS}/runbook/contended"
    answers = await asyncio.gather(*(editor.put(path, json={"title": f"writer{n}"}) for n in range(8)))
    done = [answer for answer in answers if answer.status_code in (200, 201)]
    assert {answer.status_code for answer in answers} <= {200, 201, 409}
    assert len({answer.headers["etag"] for answer in done}) == len(done)
    kept = (await editor.get(path)).json()
    assert kept["revision"] == len(done)
    (hit,) = await hits(editor, kept["title"], legs=["lexical"], kinds=["runbook"])
    assert hit["title"] == kept["title"]


async def test_a_teams_documents_are_changed_by_that_team_or_an_admin(
    app: FastAPI, editor: httpx.AsyncClient, issuer: Any
) -> None:
    path = f"{DOCUMENTS}/postmortem/owned"
    assert (await editor.put(path, json=CONTENT)).status_code == 201
    async with (
        client_of(app, issuer, "editor", "payments") as other,
        client_of(app, issuer, "viewer", "storage") as viewer,
        client_of(app, issuer, "admin") as admin,
    ):
        for content in (CONTENT | {"title": "x"}, CONTENT | {"team": "payments"}, CONTENT | {"team": None}):
            assert (await other.put(path, json=content)).status_code == 403
        assert (await other.delete(path)).status_code == 403
        assert (await other.put(f"{path}2", json=CONTENT)).status_code == 403
        assert (await viewer.put(path, json=CONTENT)).status_code == 403
        results, _ = await sent(other, line("owned") | {"kind": "postmortem"})
        assert results[0]["status"] == 403
        assert (await viewer.get(path)).json()["title"] == "Disk full"
        assert (await admin.delete(path)).status_code == 204


async def test_what_only_some_may_read_is_not_there_for_others(
    app: FastAPI, editor: httpx.AsyncClient, issuer: Any
) -> None:
    path = f"{DOCUMENTS}/postmortem/secret"
    content = {"title": "The leaked xylophone key", "readers": ["storage"], "team": "storage"}
    assert (await editor.put(path, json=content)).status_code == 201
    async with client_of(app, issuer, "editor", "payments") as other:
        assert (await other.get(path)).status_code == 404
        assert (await other.delete(path)).status_code == 404
        assert await hits(other, "xylophone", legs=["lexical"]) == []
        assert (await other.get(DOCUMENTS, params={"kind": "postmortem"})).json()["total"] == 0
    assert len(await hits(editor, "xylophone", legs=["lexical"])) == 1
    assert (await editor.delete(path)).status_code == 204


async def test_the_list_shows_what_was_given_the_latest_first(editor: httpx.AsyncClient) -> None:
    for number in range(3):
        content = {"title": f"T{number}", "service": "listed", "updated_at": f"2026-03-0{number + 1}T00:00:00Z"}
        await editor.put(f"{DOCUMENTS}/runbook/listed-{number}", json=content)
    found = (await editor.get(DOCUMENTS, params={"service": "listed", "limit": 2})).json()
    assert [item["title"] for item in found["items"]] == ["T2", "T1"]
    assert found["total"] == 3
    assert "body" not in found["items"][0]
    rest = (await editor.get(DOCUMENTS, params={"service": "listed", "skip": 2})).json()
    assert [item["external_id"] for item in rest["items"]] == ["listed-0"]


async def test_each_line_of_many_has_its_result_and_bad_ones_stop_nothing(editor: httpx.AsyncClient) -> None:
    lines: list[Any] = [line(f"many/{number}", body=f"body {number}") for number in range(70)]
    lines[10] = b"{not json"
    lines[20] = line("many/20", title="x" * 501)
    lines[30] = line("bad id")
    lines[40] = line("many/40", team="payments")
    lines[50] = {"op": "delete", "kind": "runbook", "external_id": "many/never"}
    results, sums = await sent(editor, *lines)
    assert [result["index"] for result in results] == list(range(70))
    bad = {result["index"]: result for result in results if "problem" in result}
    assert {index: result["status"] for index, result in bad.items()} == {10: 422, 20: 422, 30: 422, 40: 403, 50: 404}
    assert bad[20]["problem"]["errors"][0]["pointer"] == "/content/title"
    assert sums == {"created": 65, "updated": 0, "unchanged": 0, "deleted": 0, "failed": 5}
    results, sums = await sent(editor, *lines[:5], *({"op": "delete", **line(f"many/{n}")} for n in range(5, 8)))
    assert sums["unchanged"] == 5
    assert [result["status"] for result in results[5:]] == [422] * 3, "a deletion has no content"
    gone = [{"op": "delete", "kind": "runbook", "external_id": f"many/{number}"} for number in range(70)]
    results, sums = await sent(editor, *gone)
    assert (sums["deleted"], sums["failed"]) == (65, 5)


async def test_of_one_document_lines_count_in_their_order(editor: httpx.AsyncClient) -> None:
    results, _ = await sent(
        editor,
        line("order", body="one"),
        line("order", body="two"),
        line("order", body="one"),
        {"op": "delete", "kind": "runbook", "external_id": "order"},
        line("order", body="three"),
    )
    assert [result["result"] for result in results] == ["created", "updated", "updated", "deleted", "created"]
    assert (await editor.get(f"{DOCUMENTS}/runbook/order")).json()["body"] == "three"


async def test_a_line_that_is_too_long_is_refused_and_the_next_is_done(editor: httpx.AsyncClient) -> None:
    results, _ = await sent(editor, line("long", body="x" * service.LONGEST_LINE), line("after"))
    assert [result["status"] for result in results] == [422, 201]


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({}, ""),
        ({"title": " ", "body": "\n"}, ""),
        ({"title": "x" * 501}, "/title"),
        ({"title": "a\x00"}, "/title"),
        ({"title": "x", "body": "\ud800"}, "/body"),
        ({"title": "x", "body": "x" * 400_001}, "/body"),
        ({"title": "x", "url": "javascript:alert(1)"}, "/url"),
        ({"title": "x", "url": "https://a b"}, "/url"),
        ({"title": "x", "facets": {"kind": "y"}}, ""),
        ({"title": "x", "facets": {"Bad Name": "y"}}, "/facets/Bad Name"),
        ({"title": "x", "facets": {"a": None}}, "/facets/a"),
        ({"title": "x", "facets": {f"f{n}": 1 for n in range(51)}}, "/facets"),
        ({"title": "x", "readers": []}, "/readers"),
        ({"title": "x", "updated_at": "yesterday"}, "/updated_at"),
        ({"title": "x", "surprise": 1}, "/surprise"),
    ],
)
async def test_a_malformed_document_is_told_where(
    editor: httpx.AsyncClient, content: dict[str, Any], pointer: str
) -> None:
    raw = json.dumps(content).encode()
    response = await editor.put(f"{DOCUMENTS}/runbook/bad", content=raw, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert any(error.get("pointer", "").startswith(pointer) for error in response.json()["errors"])
    assert (await editor.get(f"{DOCUMENTS}/runbook/bad")).status_code == 404


@pytest.mark.parametrize("path", ["runbook/", "runbook/%20", "runbook/a%00", "runbook/" + "x" * 201])
async def test_a_malformed_address_is_refused(editor: httpx.AsyncClient, path: str) -> None:
    assert (await editor.put(f"{DOCUMENTS}/{path}", json={"title": "x"})).status_code == 422


async def test_what_comes_by_events_has_no_address_here(editor: httpx.AsyncClient) -> None:
    assert (await editor.put(f"{DOCUMENTS}/requirement/x", json={"title": "x"})).status_code == 404


async def test_a_body_of_50_mb_is_refused_unread(editor: httpx.AsyncClient) -> None:
    response = await editor.put(f"{DOCUMENTS}/runbook/huge", content=b'"' + b"x" * 50_000_000 + b'"')
    assert response.status_code == 413


async def test_lines_of_another_media_type_are_refused(editor: httpx.AsyncClient) -> None:
    response = await editor.post(f"{DOCUMENTS}/lines", content=b"{}", headers={"Content-Type": "text/csv"})
    assert response.status_code == 415


@pytest.mark.parametrize(
    "body", ["# " * 5000, "```\n" * 2001, "[](<>)![" * 999, "|" * 9999, "<b>" * 3000 + "\u202e🔥"]
)
async def test_markdown_that_is_none_is_found_all_the_same(editor: httpx.AsyncClient, body: str) -> None:
    assert (await editor.put(f"{DOCUMENTS}/runbook/odd", json={"title": "zebrafish", "body": body})).is_success
    (hit,) = await hits(editor, "zebrafish", legs=["lexical"])
    assert "<b>" not in hit["highlights"]["fragments"][0]
    assert (await editor.delete(f"{DOCUMENTS}/runbook/odd")).status_code == 204


async def test_when_too_many_documents_wait_the_service_says_so_and_a_stream_waits(
    editor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "DOCUMENTS_WAITING", 0)
    response = await editor.put(f"{DOCUMENTS}/runbook/busy", json={"title": "never seen before"})
    assert response.status_code == 503
    assert "retry-after" in response.headers
    results, _ = await sent(editor, line("busy", title="never seen before"))
    assert results[0]["status"] == 201


async def test_a_reader_who_goes_away_leaves_what_was_done(app: FastAPI) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(200):
            yield json.dumps(line(f"gone/{number}", body=f"text {number}")).encode()

    actor = UserInfo("alice", frozenset({"editor"}), frozenset())
    stream = service.run_lines(app.state.sessions, app.state.serving, lines(), actor)
    first = await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    done = [json.loads(result)["external_id"] for result in first.splitlines()]
    assert done == [f"gone/{number}" for number in range(service.TOGETHER)]
    async with app.state.sessions() as session:
        for external_id in done:
            assert (await service.one(session, "runbook", external_id, actor)).revision == 1
