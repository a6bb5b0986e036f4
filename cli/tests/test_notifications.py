import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plumbline_analysis.notifications.schemas import TargetContent

PATH = "/api/v1/notification-targets"
ID = "0199a0b0-0000-7000-8000-000000000010"
EXAMPLES = Path(__file__).parents[2] / "examples"
TARGET = {
    "id": ID, "name": "pager", "url": "https://pager.example.org/7", "format": "alertmanager", "enabled": False,
    "disabled_reason": "its receiver answered 410 Gone", "events": ["incident.opened", "incident.closed"],
    "services": [], "teams": ["payments"], "requirement_ids": [], "severities": ["critical"], "group_by": ["service"],
    "group_wait_seconds": 10, "group_interval_seconds": 300, "repeat_interval_seconds": 14400, "secret": "pager-key",
    "revision": 2,
}  # fmt: skip
ALERT = {
    "fingerprint": "f", "group_key": "g", "state": "firing", "severity": "critical", "told": False, "labels": {},
    "summary": "REQ-1 burns its budget", "starts_at": "2026-11-01T11:00:00.25Z", "ends_at": None,
}  # fmt: skip
DELIVERY = {
    "id": "0199a0b0-0000-7000-8000-000000000012", "target_id": ID, "group_key": "g", "state": "pending", "alerts": 3,
    "attempts": 2, "last_status": 502, "last_error": "status 502: bad gateway", "ended_at": None,
    "created_at": "2026-11-01T11:00:00Z", "next_try": "2026-11-01T11:00:07.5Z",
}  # fmt: skip
SILENCE = {
    "id": "0199a0b0-0000-7000-8000-000000000011", "state": "active", "comment": "we move", "created_by": "alice",
    "matchers": {"service": "shop", "team": None, "requirement_id": None, "severity": "warning"},
    "starts_at": "2026-11-01T11:00:00Z", "ends_at": "2026-11-01T13:00:00.5Z",
}  # fmt: skip


@pytest.fixture
def asked() -> list[Any]:
    """What was asked of the API."""
    return []


@pytest.fixture
def came() -> dict[str, Any]:
    """What the receiver made of a test."""
    return {"delivered": True, "status": 204, "error": None, "seconds": 0.031}


@pytest.fixture
def api(asked: list[Any], came: dict[str, Any]) -> Starlette:
    async def page(request: Request) -> Response:
        found = [TARGET] if request.query_params.get("name") in (None, "pager") else []
        return JSONResponse({"items": found, "total": len(found)})

    async def create(request: Request) -> Response:
        asked.append(await request.json())
        return JSONResponse(TARGET, 201)

    async def read(request: Request) -> Response:
        return JSONResponse(TARGET, headers={"ETag": '"2"'})

    async def change(request: Request) -> Response:
        asked.append((request.method, request.headers["if-match"]))
        return JSONResponse(TARGET) if request.method == "PUT" else Response(status_code=204)

    async def alerts(request: Request) -> Response:
        return JSONResponse({"items": [ALERT], "total": 1})

    async def deliveries(request: Request) -> Response:
        state = request.query_params.get("state")
        return JSONResponse({"items": [DELIVERY], "total": {"pending": 7, "dead": 12, None: 19}[state]})

    async def retry(request: Request) -> Response:
        asked.append(request.path_params["id"])
        return JSONResponse(DELIVERY)

    async def test(request: Request) -> Response:
        return JSONResponse(came)

    async def silence(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(await request.json())
        return JSONResponse(asked[-1] | {"id": ID}, 201)

    async def silences(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [SILENCE], "total": 1})

    async def end(request: Request) -> Response:
        asked.append(request.path_params["id"])
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route(PATH, page),
            Route(PATH, create, methods=["POST"]),
            Route(f"{PATH}/{ID}", read),
            Route(f"{PATH}/{ID}", change, methods=["PUT", "DELETE"]),
            Route(f"{PATH}/{ID}/alerts", alerts),
            Route(f"{PATH}/{ID}/deliveries", deliveries),
            Route(f"{PATH}/{ID}/deliveries/{{id}}/retry", retry, methods=["POST"]),
            Route(f"{PATH}/{ID}/test", test, methods=["POST"]),
            Route("/api/v1/silences", silence, methods=["POST"]),
            Route("/api/v1/silences", silences),
            Route("/api/v1/silences/{id}", end, methods=["DELETE"]),
        ]
    )


def test_targets_are_listed_with_what_waits_and_what_is_dead(shell: Any) -> None:
    result = shell("notifications", "list")
    assert result.exit_code == 0, result.output
    for said in ("pager", "410 Gone", "alertmanager", "7", "12", "1 of 1"):
        assert said in result.stdout
    assert json.loads(shell("notifications", "list", "-o", "json").stdout)["items"] == [TARGET]


def test_a_target_is_shown_by_its_name_and_by_its_id(shell: Any) -> None:
    for name in ("pager", ID):
        result = shell("notifications", "show", name)
        assert result.exit_code == 0, result.output
        for said in ("https://pager.example.org/7", "410 Gone", "teams payments; severities critical", "pager-key"):
            assert said in result.stdout
    none = shell("notifications", "show", "chat")
    assert (none.exit_code, none.stderr) == (3, "✗ there is no notification target chat\n")


@pytest.mark.parametrize("name", ["notifications/alertmanager", "notifications/chat", "first-alert/chat"])
def test_the_examples_are_added(shell: Any, asked: list[Any], name: str) -> None:
    result = shell("notifications", "add", str(EXAMPLES / f"{name}.yaml"))
    assert (result.exit_code, result.stdout) == (0, "✓ pager (alertmanager), revision 2\n")
    (body,) = asked
    TargetContent.model_validate(body)


def test_a_target_that_is_there_is_replaced_and_removed_as_it_was_read(shell: Any, asked: list[Any]) -> None:
    content = "{name: pager, url: 'https://pager.example.org/8'}"
    assert shell("notifications", "add", "--replace", "-", input=content).exit_code == 0
    assert shell("notifications", "remove", "pager").stdout == "✓ removed: pager\n"
    assert asked == [("PUT", '"2"'), ("DELETE", '"2"')]
    wrong = shell("notifications", "add", "-", input="just words")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "✗ -: needs the name and url of a notification target in each document\n",
    )


def test_what_goes_on_is_listed_and_how_messages_fared(shell: Any, asked: list[Any]) -> None:
    alerts = shell("notifications", "alerts", "pager")
    for said in ("2026-11-01T11:00:00Z", "firing", "critical", "not yet", "REQ-1 burns its budget", "1 of 1"):
        assert said in alerts.stdout
    deliveries = shell("notifications", "deliveries", "pager", "--state", "pending")
    for said in ("pending", "2026-11-01T11:00:07Z", "status 502: bad gateway", DELIVERY["id"], "1 of 7"):
        assert said in deliveries.stdout
    assert shell("notifications", "retry", "pager", DELIVERY["id"]).stdout == f"✓ is tried again: {DELIVERY['id']}\n"
    assert asked == [DELIVERY["id"]]


def test_a_test_tells_what_the_receiver_answers(shell: Any, came: dict[str, Any]) -> None:
    assert shell("notifications", "test", "pager").stdout == "✓ pager took it: status 204 in 0.031 s\n"
    came.update({"delivered": False, "status": 403, "error": "status 403: who are you?"})
    refused = shell("notifications", "test", "pager")
    assert refused.exit_code == 1
    assert "pager: status 403: who are you?" in refused.stderr
    assert "there is no notification target chat" in shell("notifications", "test", "chat").stderr


def test_a_silence_holds_for_a_while(shell: Any, asked: list[Any]) -> None:
    result = shell("notifications", "silence", "we move", "--service", "shop", "--severity", "warning", "--for", "2h")
    assert result.exit_code == 0, result.output
    (body,) = asked
    assert (body["matchers"], body["comment"]) == ({"service": "shop", "severity": "warning"}, "we move")
    left = datetime.fromisoformat(body["ends_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
    assert result.stdout.startswith("✓ silenced until ")
    wrong = shell("notifications", "silence", "we move", "--service", "shop", "--for", "soon")
    assert "not a duration such as 30m" in wrong.stderr


def test_silences_are_listed_and_ended(shell: Any, asked: list[Any]) -> None:
    result = shell("notifications", "silences", "--state", "active")
    assert result.exit_code == 0, result.output
    for said in ("active", "2026-11-01T13:00:00Z", "service=shop", "we move", "alice", "1 of 1"):
        assert said in result.stdout
    assert "team" not in result.stdout
    assert shell("notifications", "unsilence", SILENCE["id"]).stdout == f"✓ ended: {SILENCE['id']}\n"
    assert asked == [{"skip": "0", "limit": "50", "state": "active"}, SILENCE["id"]]
