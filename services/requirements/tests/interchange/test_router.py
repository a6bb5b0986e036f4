"""Files in and out through the API, on a real database."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from lifecycle import PATH, activated, created, moved
from plumbline_requirements.interchange import service as interchange

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
        "links": {"created": 0, "unchanged": 0, "passed_over": 0},
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


# --- Links ----------------------------------------------------------------------------------------------


async def linked(client: httpx.AsyncClient, source: dict[str, Any], target: dict[str, Any], type: str) -> None:
    body = {"source_id": source["id"], "target_id": target["id"], "type": type}
    assert (await client.post("/api/v1/links", json=body)).status_code == 201


async def edges(client: httpx.AsyncClient) -> set[tuple[str, str, str]]:
    items = (await client.get("/api/v1/links", params={"limit": 100})).json()["items"]
    return {(each["source"]["title"], each["type"], each["target"]["title"]) for each in items}


async def test_reqif_carries_the_links_of_what_it_has(alice: httpx.AsyncClient) -> None:
    named = ("Root", "Part", "Test", "Elsewhere")
    root, part, test, elsewhere = [await created(alice, title=title, service="shop") for title in named]
    await linked(alice, part, root, "derives")
    await linked(alice, test, part, "verifies")
    await linked(alice, elsewhere, root, "refines")
    await alice.patch(f"{PATH}/{elsewhere['id']}", json={"service": "till"}, headers={"If-Match": "*"})
    content = await exported(alice, "reqif", service="shop")
    assert content.count(b"<SPEC-RELATION ") == 2, "not the one whose source is not in the file"

    counts = {"created": 0, "unchanged": 2, "passed_over": 0}
    assert (await done(alice, "reqif", content))["links"] == counts
    for each in (root, part, test):
        content = content.replace(each["id"].encode(), str(uuid4()).encode())
        content = content.replace(each["title"].encode(), f"New {each['title'].lower()}".encode())
    counts = {"created": 2, "unchanged": 0, "passed_over": 0}
    dry = await done(alice, "reqif", content, dry_run=True)
    assert (dry["links"], dry["created"], dry["written"]) == (counts, 3, False)
    assert (await done(alice, "reqif", content))["links"] == counts
    assert await edges(alice) == {
        ("Part", "derives", "Root"),
        ("Test", "verifies", "Part"),
        ("Elsewhere", "refines", "Root"),
        ("New part", "derives", "New root"),
        ("New test", "verifies", "New part"),
    }
    audited = await alice.get("/api/v1/links", params={"type": "derives"})
    assert audited.json()["items"][0]["created_by"] == "alice"


def relations(content: bytes, *pairs: tuple[str, str, str]) -> bytes:
    """The export with these links instead of its own."""
    made = "".join(
        f'<SPEC-RELATION IDENTIFIER="_r{place}"><TYPE><SPEC-RELATION-TYPE-REF>_plumbline-{type}'
        f"</SPEC-RELATION-TYPE-REF></TYPE><SOURCE><SPEC-OBJECT-REF>_{source}</SPEC-OBJECT-REF></SOURCE>"
        f"<TARGET><SPEC-OBJECT-REF>_{target}</SPEC-OBJECT-REF></TARGET></SPEC-RELATION>\n"
        for place, (source, type, target) in enumerate(pairs)
    )
    return content.replace(b"</SPEC-OBJECTS>", f"</SPEC-OBJECTS>\n<SPEC-RELATIONS>\n{made}</SPEC-RELATIONS>".encode())


@pytest.mark.parametrize("dry_run", [True, False])
async def test_links_that_go_round_or_lead_nowhere_refuse_the_file(alice: httpx.AsyncClient, dry_run: bool) -> None:
    a, b, c = [(await created(alice, title=title))["id"] for title in "abc"]
    content = await exported(alice, "reqif")
    line = content[: content.index(b"</SPEC-OBJECTS>")].count(b"\n") + 3

    async def faults(*pairs: tuple[str, str, str]) -> list[tuple[int, str]]:
        said = await sent(alice, "reqif", relations(content, *pairs), dry_run=dry_run)
        assert said[-1]["done"]["written"] is False
        return [(each["fault"]["line"], each["fault"]["detail"]) for each in said if "fault" in each]

    (found,) = await faults((a, "derives", b), (b, "refines", c), (c, "derives", a))
    assert found[0] in range(line, line + 3)
    assert found[1].startswith("a requirement would derive from itself: _")
    assert found[1].count(" → ") == 3
    assert await faults((a, "derives", a)) == [(line, "links a requirement with itself")]
    other = str(uuid4())
    assert await faults((a, "conflicts", other)) == [(line, f"links _{other}, which the file does not have")]
    assert await edges(alice) == set()


async def test_a_cycle_that_the_file_closes_with_what_there_is_writes_nothing(alice: httpx.AsyncClient) -> None:
    a, b = [await created(alice, title=title) for title in "ab"]
    content = relations(await exported(alice, "reqif"), (b["id"], "derives", a["id"]))
    await linked(alice, a, b, "refines")
    new = content.replace(b'LONG-NAME="a"', b'LONG-NAME="changed"').replace(b'THE-VALUE="a"', b'THE-VALUE="changed"')
    said = await sent(alice, "reqif", new)
    (fault,) = [each["fault"] for each in said if "fault" in each]
    assert fault["problem"]["type"] == "urn:plumbline:problem:link-cycle"
    assert said[-1]["done"]["written"] is False
    assert {each["title"] for each in await listed(alice)} == {"a", "b"}
    assert await edges(alice) == {("a", "refines", "b")}


async def test_links_of_kinds_that_plumbline_does_not_have_are_counted_and_passed_over(
    alice: httpx.AsyncClient,
) -> None:
    a, b = [(await created(alice, title=title))["id"] for title in "ab"]
    pairs = [(a, "admires", b), (a, "conflicts", b), (b, "conflicts", a), (a, "conflicts", b)]
    content = relations(await exported(alice, "reqif"), *pairs)
    assert (await done(alice, "reqif", content))["links"] == {"created": 2, "unchanged": 1, "passed_over": 1}


async def test_only_links_of_ones_own_requirements_come_in(alice: httpx.AsyncClient, caller: Any) -> None:
    sam = caller("editor", subject="sam", teams=("search",))
    theirs = await created(sam, title="Theirs", owner_team="search")
    mine = await created(alice, title="Mine", owner_team="payments")
    content = await exported(alice, "reqif")
    wrong = await sent(alice, "reqif", relations(content, (theirs["id"], "derives", mine["id"])))
    (fault,) = [each["fault"] for each in wrong if "fault" in each]
    assert fault["problem"]["status"] == 403
    right = await done(alice, "reqif", relations(content, (mine["id"], "derives", theirs["id"])))
    assert right["links"]["created"] == 1


async def test_a_file_has_a_bounded_number_of_links(
    alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interchange, "MOST_LINKS", 2)
    a, b = [(await created(alice, title=title))["id"] for title in "ab"]
    content = await exported(alice, "reqif")
    pairs = [(a, "conflicts", b), (b, "conflicts", a), (a, "mitigates", b), (b, "mitigates", a)]
    said = await sent(alice, "reqif", relations(content, *pairs))
    assert [each["fault"]["detail"] for each in said if "fault" in each] == ["a file has at most 2 links"]
    assert (await done(alice, "reqif", relations(content, *pairs[:2])))["links"]["created"] == 2
