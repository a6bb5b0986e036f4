"""Files in and out through the API, on a real database."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from lifecycle import PATH, activated, created, moved

EXPORT, IMPORT = f"{PATH}/export", f"{PATH}/import"
TYPES = {"csv": "text/csv", "json": "application/json", "ndjson": "application/x-ndjson",
         "reqif": "application/reqif+xml"}  # fmt: skip


async def sent(client: httpx.AsyncClient, form: str, content: bytes | str, **query: Any) -> list[dict[str, Any]]:
    response = await client.post(IMPORT, content=content, headers={"Content-Type": TYPES[form]}, params=query)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def done(client: httpx.AsyncClient, form: str, content: bytes | str, **query: Any) -> dict[str, Any]:
    last: dict[str, Any] = (await sent(client, form, content, **query))[-1]["done"]
    return last


async def exported(client: httpx.AsyncClient, form: str, **query: Any) -> bytes:
    response = await client.get(EXPORT, params={"format": form} | query)
    assert response.status_code == 200
    return response.content


async def listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(PATH, params={"sort": "key"})).json()["items"]
    return items


@pytest.mark.parametrize("form", list(TYPES))
async def test_what_goes_out_comes_in_unchanged_and_makes_a_fresh_instance_the_same(
    alice: httpx.AsyncClient, app: Any, form: str
) -> None:
    for number in range(3):
        await created(
            alice,
            title=f"Number {number} answers =1",
            description="one\ntwo",
            statement="The shop shall answer.",
            labels={"tier": str(number)},
            owner_team="payments",
        )
    before = await listed(alice)
    content = await exported(alice, form)
    same = await done(alice, form, content)
    assert same == {
        "written": True, "dry_run": False, "read": 3, "created": 0, "updated": 0, "unchanged": 3, "faults": 0,
    }  # fmt: skip
    assert [each["revision"] for each in await listed(alice)] == [1, 1, 1]
    for each in before:
        await alice.delete(f"{PATH}/{each['id']}", headers={"If-Match": "*"})
    gone = await sent(alice, form, content)
    assert [line["fault"]["pointer"] for line in gone if "fault" in line] == ["/id"] * 3
    assert gone[-1]["done"]["written"] is False
    fresh = content
    for each in before:
        fresh = fresh.replace(each["id"].encode(), str(uuid4()).encode())
    assert (await done(alice, form, fresh))["created"] == 3
    names = ("title", "description", "statement", "labels", "owner_team", "status")
    after = await listed(alice)
    assert [[each[name] for name in names] for each in after] == [[each[name] for name in names] for each in before]
    assert (await done(alice, form, fresh))["unchanged"] == 3


async def test_a_file_changes_only_what_it_has_and_tells_what(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient
) -> None:
    one = await created(alice, title="One", description="stays", labels={"a": "1", "b": "2"})
    active = await activated(alice, rita, one["id"])
    content = f'key,title,labels\n{one["key"]},Uno,"{{""a"": ""1""}}"\n,Dos,\n'
    told = await sent(alice, "csv", content, dry_run=True)
    changes = [line["change"] for line in told if "change" in line]
    assert [(each["line"], each["action"]) for each in changes] == [(2, "updated"), (3, "created")]
    assert changes[0]["differences"] == [
        {"pointer": "/labels/b", "before": "2", "after": None},
        {"pointer": "/title", "before": "One", "after": "Uno"},
    ]
    assert told[-1]["done"]["written"] is False
    assert [each["title"] for each in await listed(alice)] == ["One"]
    assert (await done(alice, "csv", content, reason="translated"))["written"] is True
    changed, new = await listed(alice)
    assert (changed["title"], changed["description"], changed["labels"]) == ("Uno", "stays", {"a": "1"})
    assert (changed["status"], changed["in_force"]) == ("draft", active["revision"])
    assert (new["title"], new["status"]) == ("Dos", "draft")
    history = (await alice.get(f"{PATH}/{one['id']}/revisions")).json()["items"]
    assert "translated" in {each["reason"] for each in history}


async def test_one_fault_and_nothing_is_written(alice: httpx.AsyncClient, caller: Any) -> None:
    theirs = await created(caller("admin", teams=()), title="Theirs", owner_team="search")
    retired = await created(alice, title="Old")
    for to in ("in_review", "draft"):
        await moved(alice, retired["id"], to)
    faulty = [
        {"title": "New"},
        {"key": theirs["key"], "title": "Mine"},
        {"key": "REQ-99999999", "title": "x"},
        {"description": "no title"},
        {"title": "Also theirs", "owner_team": "search"},
    ]
    for dry_run in (True, False):
        told = await sent(alice, "json", json.dumps(faulty), dry_run=dry_run)
        faults = [line["fault"] for line in told if "fault" in line]
        assert [each["pointer"] for each in faults] == ["", "/key", "/title", ""]
        assert "belongs to the team search" in faults[0]["detail"]
        assert told[-1]["done"]["written"] is False
    assert {each["title"] for each in await listed(alice)} == {"Theirs", "Old"}
    twice = [{"key": theirs["key"], "title": "Theirs"}] * 2
    told = await sent(alice, "json", json.dumps(twice))
    (fault,) = [line["fault"] for line in told if "fault" in line]
    assert "comes twice in the file" in fault["detail"]


async def test_a_file_that_cannot_be_read_is_told_of_by_line(alice: httpx.AsyncClient) -> None:
    told = await sent(alice, "csv", "title\na\n\xff\n".encode("latin-1"))
    assert told[0]["fault"] == {"line": 3, "pointer": "", "detail": "is not UTF-8: byte 0 of the line"}
    assert told[-1]["done"]["written"] is False
    plain = await alice.post(IMPORT, content=b"title\n", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415


async def test_an_export_has_what_the_filters_of_the_list_leave(alice: httpx.AsyncClient) -> None:
    await created(alice, title="One", service="shop", labels={"tier": "1"})
    await created(alice, title="Two", service="search")
    found = json.loads(await exported(alice, "json", service="shop", label="tier=1"))
    assert [each["title"] for each in found] == ["One"]
    assert json.loads(await exported(alice, "json", q="nothing")) == []
    report = await alice.get(EXPORT, params={"format": "html", "service": "shop"})
    assert report.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in report.headers["content-security-policy"]
    assert 'filename="requirements.html"' in report.headers["content-disposition"]
    assert "service shop; as of" in report.text
    assert "1 requirement<" in report.text
    assert "## " in (await exported(alice, "markdown")).decode()
    assert (await alice.get(EXPORT, params={"colour": "red"})).status_code == 422
