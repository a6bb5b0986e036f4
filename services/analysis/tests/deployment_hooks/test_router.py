from typing import Any
from uuid import uuid4

import httpx
import pytest

import webhook_sender

PATH, DEPLOYMENTS = "/api/v1/deployment-hooks", "/api/v1/deployments"
SECRET = "kept in the environment"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_ANALYSIS_SECRET_CHECKOUT_HOOK", SECRET)


@pytest.fixture
def editor(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("editor")
    return client


@pytest.fixture
def nobody(caller: Any) -> httpx.AsyncClient:
    """Without a token, as whoever deploys."""
    client: httpx.AsyncClient = caller()
    del client.headers["authorization"]
    return client


async def hook(editor: httpx.AsyncClient, format: str, **members: Any) -> dict[str, Any]:
    content = {"service": "checkout", "format": format, "secret": "checkout-hook"} | members
    made = await editor.post(PATH, json=content)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{PATH}/{made.json()['id']}"
    return dict(made.json())


async def test_a_hook_is_made_read_listed_and_deleted(editor: httpx.AsyncClient, viewer: httpx.AsyncClient) -> None:
    made = await hook(editor, "github", environments=["production"])
    assert made["url"] == f"{PATH}/{made['id']}/deliveries"
    assert (made["github_event"], made["secret"]) == ("deployment_status", "checkout-hook"), "the name, no secret"
    assert (made["last_delivery_at"], made["last_outcome"]) == (None, None)
    assert (await viewer.get(f"{PATH}/{made['id']}")).json() == made
    other = await hook(editor, "standard", service="cart")
    assert (await viewer.get(PATH)).json() == {"items": [other, made], "total": 2}
    assert (await viewer.get(PATH, params={"service": "checkout"})).json() == {"items": [made], "total": 1}
    assert (await viewer.delete(f"{PATH}/{made['id']}")).status_code == 403
    assert (await editor.delete(f"{PATH}/{made['id']}")).status_code == 204
    assert (await editor.delete(f"{PATH}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"format": "gitlab"}, "/format"),
        ({"secret": "../etc/passwd"}, "/secret"),
        ({"service": " "}, "/service"),
        ({"github_event": "push"}, "/github_event"),
        ({"environments": [""]}, "/environments/0"),
    ],
)
async def test_what_is_no_hook_is_refused_with_its_member(
    editor: httpx.AsyncClient, members: dict[str, Any], pointer: str
) -> None:
    content = {"service": "checkout", "format": "github", "secret": "checkout-hook"} | members
    reply = await editor.post(PATH, json=content)
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_a_delivery_of_github_is_recorded_once(
    editor: httpx.AsyncClient, nobody: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    made = await hook(editor, "github")
    ping = await nobody.post(made["url"], **webhook_sender.github(SECRET, {"zen": "…"}, "ping"))
    assert (ping.status_code, ping.json()["outcome"]) == (200, "ignored")
    waits = await nobody.post(
        made["url"], **webhook_sender.github(SECRET, webhook_sender.deployment_status("queued"))
    )
    assert (waits.status_code, waits.json()["outcome"]) == (200, "ignored")
    first = (
        await nobody.post(made["url"], **webhook_sender.github(SECRET, webhook_sender.deployment_status()))
    ).json()
    content = webhook_sender.deployment_status()
    content["deployment_status"]["created_at"] = "2026-11-01T12:00:07Z"
    again = (await nobody.post(made["url"], **webhook_sender.github(SECRET, content, id="another"))).json()
    assert [first["outcome"], again["outcome"]] == ["recorded", "known"]
    assert first["deployment_id"] == again["deployment_id"]
    listed = (await viewer.get(DEPLOYMENTS)).json()
    (deployment,) = listed["items"]
    assert (deployment["id"], deployment["deployed_at"]) == (first["deployment_id"], "2026-11-01T12:00:00Z")
    assert deployment["recorded_by"] == f"deployment-hook/{made['id']}"
    assert (await viewer.get(f"{PATH}/{made['id']}")).json()["last_outcome"] == "known"


async def test_a_plain_delivery_is_recorded_once(
    editor: httpx.AsyncClient, nobody: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    made = await hook(editor, "standard")
    sent = webhook_sender.standard(SECRET, {"version": "1.4.2"})
    outcomes = [(await nobody.post(made["url"], **sent)).json()["outcome"] for _ in range(2)]
    other = webhook_sender.standard(SECRET, {"version": "1.4.3"}, id="msg-2")
    outcomes.append((await nobody.post(made["url"], **other)).json()["outcome"])
    assert outcomes == ["recorded", "known", "recorded"]
    assert (await viewer.get(DEPLOYMENTS)).json()["total"] == 2


async def test_nobody_learns_whether_there_is_a_hook(
    editor: httpx.AsyncClient, nobody: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, github = await hook(editor, "standard"), await hook(editor, "github")
    lacking = await hook(editor, "standard", secret="nowhere")
    stale = webhook_sender.standard("guessed", {"version": "1"}, ago=3600)
    answers = [
        await nobody.post(plain["url"], **webhook_sender.standard("guessed", {"version": "1"})),
        await nobody.post(plain["url"], **stale),
        await nobody.post(plain["url"], json={"version": "1"}),
        await nobody.post(github["url"], **webhook_sender.github("guessed", webhook_sender.deployment_status())),
        await nobody.post(github["url"], **webhook_sender.standard(SECRET, {"version": "1"})),
        await nobody.post(lacking["url"], **webhook_sender.standard(SECRET, {"version": "1"})),
        await nobody.post(f"{PATH}/{uuid4()}/deliveries", **webhook_sender.standard(SECRET, {"version": "1"})),
        await editor.post(plain["url"], json={"version": "1"}),
    ]
    said = [each.json() | {"instance": "", "trace_id": ""} for each in answers]
    assert all(each == said[0] for each in said), said
    assert (said[0]["status"], said[0]["type"]) == (401, "urn:plumbline:problem:unsigned-delivery")
    assert (await editor.get(DEPLOYMENTS)).json()["total"] == 0
    assert (await editor.get(f"{PATH}/{plain['id']}")).json()["last_delivery_at"] is None


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        ({"version": ""}, 422, "invalid-request"),
        ({"version": "1", "deployed_at": "2100-01-01T00:00:00Z"}, 422, "invalid-request"),
        (b'{"version": "1', 422, "invalid-request"),
        (b" " * (256 * 1024 + 1), 413, "body-too-large"),
    ],
)
async def test_what_is_signed_and_no_deployment_is_told_why(
    editor: httpx.AsyncClient, nobody: httpx.AsyncClient, content: Any, status: int, slug: str
) -> None:
    made = await hook(editor, "standard")
    reply = await nobody.post(made["url"], **webhook_sender.standard(SECRET, content))
    assert (reply.status_code, reply.json()["type"]) == (status, f"urn:plumbline:problem:{slug}")


async def test_what_was_signed_an_hour_ago_is_refused(editor: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    made = await hook(editor, "standard")
    reply = await nobody.post(made["url"], **webhook_sender.standard(SECRET, {"version": "1"}, ago=3600))
    assert (reply.status_code, reply.json()["type"]) == (401, "urn:plumbline:problem:stale-delivery")


async def test_a_form_is_no_delivery(editor: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    made = await hook(editor, "github")
    assert (await nobody.post(made["url"], data={"payload": "{}"})).status_code == 415
