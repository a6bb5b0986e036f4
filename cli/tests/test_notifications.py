import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/notification-targets"
ID = "0199a0b0-0000-7000-8000-000000000010"
TARGET = {
    "id": ID, "name": "pager", "url": "https://pager.example.org/7", "format": "alertmanager", "enabled": False,
    "disabled_reason": "its receiver answered 410 Gone",
}  # fmt: skip


SILENCE = {
    "id": "0199a0b0-0000-7000-8000-000000000011", "state": "active", "comment": "we move", "created_by": "alice",
    "matchers": {"service": "shop", "team": None, "requirement_id": None, "severity": "warning"},
    "starts_at": "2026-11-01T11:00:00Z", "ends_at": "2026-11-01T13:00:00.5Z",
}  # fmt: skip


@pytest.fixture
def asked() -> list[Any]:
    """The bodies of POSTs."""
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

    async def deliveries(request: Request) -> Response:
        return JSONResponse({"items": [], "total": {"pending": 7, "dead": 12}[request.query_params["state"]]})

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
            Route(f"{PATH}/{ID}/deliveries", deliveries),
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
