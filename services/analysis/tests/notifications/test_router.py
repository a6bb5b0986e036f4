from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from plumbline_analysis.models import NotificationDelivery
from plumbline_common import db
from webhook_receiver import Receiver, answer

TARGETS, SILENCES = "/api/v1/notification-targets", "/api/v1/silences"


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
async def target(operator: httpx.AsyncClient, receiver: Receiver) -> dict[str, Any]:
    content = {"name": "pager", "url": receiver.url, "secret": "hook-key", "headers": {"Authorization": "token"}}
    made = await operator.post(TARGETS, json=content)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{TARGETS}/{made.json()['id']}"
    return dict(made.json())


async def test_a_target_is_made_with_the_defaults_of_alertmanager(
    target: dict[str, Any], viewer: httpx.AsyncClient
) -> None:
    read = await viewer.get(f"{TARGETS}/{target['id']}")
    assert (read.json(), read.headers["etag"]) == (target, '"1"')
    paces = [target[f"{name}_seconds"] for name in ("group_wait", "group_interval", "repeat_interval")]
    assert paces == [30, 300, 4 * 3600]
    assert (target["format"], target["send_resolved"], target["enabled"]) == ("plumbline", True, True)
    assert (target["secret"], target["headers"]) == ("hook-key", {"Authorization": "token"}), "names, no secrets"
    assert (await viewer.get(TARGETS, params={"name": "pager"})).json() == {"items": [target], "total": 1}
    assert (await viewer.get(TARGETS, params={"name": "chat"})).json() == {"items": [], "total": 0}


async def test_a_change_says_which_revision_it_changes(target: dict[str, Any], operator: httpx.AsyncClient) -> None:
    path = f"{TARGETS}/{target['id']}"
    content = {"name": "pager", "url": target["url"], "enabled": False}
    assert (await operator.put(path, json=content)).status_code == 428
    changed = await operator.put(path, json=content, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["enabled"]) == (200, '"2"', False)
    assert (await operator.put(path, json=content, headers={"If-Match": '"1"'})).status_code == 412
    assert (await operator.delete(path, headers={"If-Match": '"2"'})).status_code == 204
    assert (await operator.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("members", "status", "pointer"),
    [
        ({"name": "pager"}, 409, "/name"),
        ({"url": "http://169.254.169.254/"}, 409, "/url"),
        ({"url": "ftp://chat.example.org"}, 422, "/url"),
        ({"url": "https://user:password@chat.example.org"}, 422, "/url"),
        ({"headers": {"Webhook-Id": "mine"}}, 422, "/headers/Webhook-Id"),
        ({"secret": "../etc/passwd"}, 422, "/secret"),
        ({"events": ["incident.burned"]}, 422, "/events/0"),
        ({"repeat_interval_seconds": 60}, 422, ""),
    ],
)
async def test_what_can_not_be_is_refused_with_its_place(
    target: dict[str, Any], operator: httpx.AsyncClient, members: dict[str, Any], status: int, pointer: str
) -> None:
    reply = await operator.post(TARGETS, json={"name": "chat", "url": "https://chat.example.org/hook"} | members)
    assert reply.status_code == status, reply.text
    assert reply.json()["errors"][0]["pointer"].startswith(pointer)


async def test_a_test_tells_what_the_receiver_answers(
    operator: httpx.AsyncClient, target: dict[str, Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{TARGETS}/{target['id']}/test"
    lacking = (await operator.post(path)).json()
    assert (lacking["delivered"], lacking["status"]) == (False, None)
    assert "no PLUMBLINE_ANALYSIS_SECRET_HOOK_KEY" in lacking["error"]
    monkeypatch.setenv("PLUMBLINE_ANALYSIS_SECRET_HOOK_KEY", "secret")
    monkeypatch.setenv("PLUMBLINE_ANALYSIS_SECRET_TOKEN", "Bearer abc")
    tried = (await operator.post(path)).json()
    assert (tried["delivered"], tried["status"], tried["error"]) == (True, 204, None)
    (message,) = receiver.messages
    assert message.json["text"].startswith("🔥 [info] A test: notifications reach you")
    receiver.usual = answer("403 Forbidden", b"who are you?")
    assert (await operator.post(path)).json()["error"] == "status 403: who are you?"


async def test_deliveries_are_read_and_tried_again(
    operator: httpx.AsyncClient, target: dict[str, Any], sessions: db.Sessions
) -> None:
    now = datetime.now(UTC)
    ids = [uuid4(), uuid4()]
    given = {"target_id": target["id"], "group_key": "{}:{}", "body": "{}", "alerts": 1, "attempts": 33}
    given |= {"last_status": 500, "last_error": "status 500"}
    given |= dict.fromkeys(("expires_at", "created_at", "ended_at"), now)
    async with sessions.begin() as session:
        for id, state in zip(ids, ("dead", "delivered"), strict=True):
            session.add(NotificationDelivery(id=id, state=state, **given))
    path = f"{TARGETS}/{target['id']}/deliveries"
    assert (await operator.get(path)).json()["total"] == 2
    (dead,) = (await operator.get(path, params={"state": "dead"})).json()["items"]
    assert (dead["id"], dead["attempts"], dead["last_status"]) == (str(ids[0]), 33, 500)
    again = (await operator.post(f"{path}/{ids[0]}/retry")).json()
    assert (again["state"], again["ended_at"]) == ("pending", None)
    assert (await operator.post(f"{path}/{ids[1]}/retry")).status_code == 409
    assert (await operator.post(f"{path}/{uuid4()}/retry")).status_code == 404
    assert (await operator.get(f"{TARGETS}/{target['id']}/alerts")).json() == {"items": [], "total": 0}
    for noun in ("alerts", "deliveries"):
        assert (await operator.get(f"{TARGETS}/{uuid4()}/{noun}")).status_code == 404


async def test_silences_begin_hold_and_end(operator: httpx.AsyncClient, viewer: httpx.AsyncClient, app: Any) -> None:
    now = datetime.now(UTC)

    async def silence(begins: timedelta | None, ends: timedelta, **matchers: Any) -> httpx.Response:
        body = {"matchers": matchers, "ends_at": (now + ends).isoformat(), "comment": "we move the databases"}
        return await operator.post(
            SILENCES, json=body | ({"starts_at": (now + begins).isoformat()} if begins else {})
        )

    hour = timedelta(hours=1)
    active = (await silence(None, hour, service="shop")).json()
    pending = (await silence(hour, 2 * hour, team="web", severity="warning")).json()
    assert [each["state"] for each in (active, pending)] == ["active", "pending"]
    listed = (await viewer.get(SILENCES)).json()
    assert listed == {"items": [pending, active], "total": 2}
    assert (await viewer.get(SILENCES, params={"state": "active"})).json()["items"] == [active]
    assert (await operator.delete(f"{SILENCES}/{active['id']}")).status_code == 204
    assert (await viewer.get(SILENCES, params={"state": "expired"})).json()["total"] == 1
    assert (await operator.delete(f"{SILENCES}/{uuid4()}")).status_code == 404
    for reply, pointer in (
        (await silence(None, -hour, service="shop"), "/ends_at"),
        (await silence(None, hour), "/matchers"),
        (await silence(2 * hour, hour, service="shop"), ""),
    ):
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["pointer"] == pointer
