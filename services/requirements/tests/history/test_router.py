import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from lifecycle import PATH, created, moved, patched
from plumbline_requirements.history import rules

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


async def test_every_change_is_a_revision_that_can_be_read(alice: httpx.AsyncClient) -> None:
    id = (await created(alice, description="first"))["id"]
    await alice.patch(
        f"{PATH}/{id}?reason=it+was+vague", json={"title": "B", "labels": {"a/b": "1"}}, headers={"If-Match": '"1"'}
    )
    await moved(alice, id, "in_review", reason="please look")
    page = (await alice.get(f"{PATH}/{id}/revisions")).json()
    assert page["total"] == 3
    assert [(item["revision"], item["status"], item["reason"], item["changed"]) for item in page["items"]] == [
        (3, "in_review", "please look", ["status"]),
        (2, "draft", "it was vague", ["labels", "title"]),
        (1, "draft", "", ["description", "title"]),
    ]
    first = (await alice.get(f"{PATH}/{id}/revisions/1")).json()
    assert (first["title"], first["labels"]) == ("Checkout answers", {})
    difference = (await alice.get(f"{PATH}/{id}/diff", params={"from": 1, "to": 3})).json()
    assert difference == {
        "from": 1,
        "to": 3,
        "changes": [
            {"pointer": "/labels/a~1b", "before": None, "after": "1"},
            {"pointer": "/status", "before": "draft", "after": "in_review"},
            {"pointer": "/title", "before": "Checkout answers", "after": "B"},
        ],
    }


async def test_the_past_is_read_as_it_was(alice: httpx.AsyncClient) -> None:
    before = datetime.now(UTC).isoformat()
    id = (await created(alice))["id"]
    then = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.01)
    await patched(alice, id, title="B")
    response = await alice.get(f"{PATH}/{id}", params={"as_of": then})
    assert (response.json()["title"], response.headers["etag"]) == ("Checkout answers", '"1"')
    assert (await alice.get(f"{PATH}/{id}", params={"as_of": before})).status_code == 404
    await alice.delete(f"{PATH}/{id}", headers={"If-Match": '"2"'})
    assert (await alice.get(f"{PATH}/{id}", params={"as_of": then})).status_code == 200
    now = datetime.now(UTC).isoformat()
    assert (await alice.get(f"{PATH}/{id}", params={"as_of": now})).status_code == 404
    revisions = (await alice.get(f"{PATH}/{id}/revisions")).json()["items"]
    assert [item["status"] for item in revisions] == ["deleted", "draft", "draft"]
    assert (await alice.get(f"{PATH}/{id}/revisions/3")).status_code == 404


@pytest.mark.parametrize("when", ["yesterday", "2026-01-01", "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z"])
async def test_a_time_that_is_none_is_refused(alice: httpx.AsyncClient, when: str) -> None:
    response = await alice.get(f"{PATH}/{uuid4()}", params={"as_of": when})
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "as_of"


async def test_a_revision_is_restored_as_a_new_draft(alice: httpx.AsyncClient) -> None:
    id = (await created(alice, description="first", labels={"a": "1"}))["id"]
    await patched(alice, id, description="second", labels={"a": None, "b": "2"})
    await moved(alice, id, "in_review")
    wanted = {"revision": 1, "reason": "the first was right"}
    restored = (await alice.post(f"{PATH}/{id}/restore", json=wanted, headers={"If-Match": '"3"'})).json()
    assert (restored["description"], restored["labels"], restored["status"]) == ("first", {"a": "1"}, "draft")
    assert restored["revision"] == 4
    missing = {"revision": 9}
    assert (await alice.post(f"{PATH}/{id}/restore", json=missing, headers={"If-Match": '"4"'})).status_code == 404


async def test_what_never_was_has_no_history(alice: httpx.AsyncClient) -> None:
    assert (await alice.get(f"{PATH}/{uuid4()}/revisions")).status_code == 404
    assert (await alice.get(f"{PATH}/{uuid4()}/diff", params={"from": 1, "to": 2})).status_code == 404


async def test_revisions_cannot_be_changed(alice: httpx.AsyncClient, app: Any) -> None:
    await created(alice)
    for statement in ("UPDATE requirement_revisions SET reason = 'x'", "DELETE FROM requirement_revisions"):
        with pytest.raises(IntegrityError, match="never changed"):
            async with app.state.sessions.begin() as session:
                await session.execute(text(statement))


def patch(value: Any, pointer: str, after: Any) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    if isinstance(value, list):
        value[int(last) : int(last) + 1] = [after]
    else:
        value[last] = after


@given(st.dictionaries(st.text(max_size=3), json_values), st.dictionaries(st.text(max_size=3), json_values))
def test_the_differences_are_all_there_is_between_two(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = list(rules.differences(before, after, frozenset()))
    assert (not found) == (before == after)
    for pointer, old, new in found:
        assert old != new or old is None
        assert pointer.startswith("/")
    back = [(pointer, new, old) for pointer, old, new in found]
    assert list(rules.differences(after, before, frozenset())) == back
