import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/incidents"
REASON = {"kind": "dependents", "text": "all of the other services depend on it", "weight": 0.3}
INCIDENT = {
    "id": "0199a0b0-0000-7000-8000-000000000007", "title": "Latency of cart rose; with it 1 more anomaly of web",
    "state": "open", "severity": "critical", "onset": "2026-11-01T11:00:00.123456Z", "anomaly_count": 2,
    "origins": [{"service": "cart", "title": "Latency of cart rose", "score": 0.5, "reasons": [REASON]}],
}  # fmt: skip
TIMELINE = [
    {"at": "2026-11-01T10:55:00Z", "kind": "deployment", "text": "cart 1.4.2 was deployed", "actor": "pipeline"},
    {"at": "2026-11-01T11:00:00Z", "kind": "anomaly_began", "text": "Latency of cart rose", "actor": None},
    {"at": "2026-11-01T11:01:00Z", "kind": "opened", "text": "Latency of cart rose", "actor": None},
]


@pytest.fixture
def asked() -> list[Any]:
    """The bodies of POSTs with their If-Match, and the queries of lists, in their order."""
    return []


@pytest.fixture
def api(asked: list[Any]) -> Starlette:
    async def page(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [INCIDENT], "total": 3})

    async def read(request: Request) -> Response:
        return JSONResponse(INCIDENT, headers={"ETag": '"3"'})

    async def timeline(request: Request) -> Response:
        return JSONResponse({"items": TIMELINE, "total": 4})

    async def change(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        body = json.loads(await request.body() or "null")
        asked.append((request.path_params["verb"], body, request.headers.get("if-match")))
        if request.path_params["verb"] == "comments":
            return JSONResponse({"at": "2026-11-01T11:05:00Z", "by": "cli"} | body, 201)
        if body is not None and body["reason"] == "twice":
            return JSONResponse({"detail": "from resolved it can go to merged"}, 409)
        return JSONResponse(INCIDENT)

    one = f"{PATH}/{INCIDENT['id']}"
    return Starlette(
        routes=[
            Route(PATH, page),
            Route(one, read),
            Route(f"{one}/timeline", timeline),
            Route(f"{one}/{{verb}}", change, methods=["POST"]),
        ]
    )


def test_incidents_are_listed(shell: Any, asked: list[Any]) -> None:
    result = shell("incidents", "list", "--state", "open", "--service", "cart", "--since", "2026-11-01T00:00:00Z")
    assert result.exit_code == 0, result.output
    for said in ("2026-11-01T11:00:00Z", "open", "critical", "Latency of cart rose", INCIDENT["id"], "1 of 3"):
        assert said in result.stdout
    asked_for = {"state": "open", "service": "cart", "since": "2026-11-01T00:00:00Z"}
    assert asked == [{"skip": "0", "limit": "50"} | asked_for]


def test_an_incident_is_shown_with_its_origins_and_its_timeline(shell: Any) -> None:
    result = shell("incidents", "show", INCIDENT["id"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Latency of cart rose; with it 1 more anomaly of web",
        "critical, open, 2 anomalies",
        "",
        "probable origins",
        "██████████░░░░░░░░░░ 0.50 cart",
        "  +0.30 all of the other services depend on it",
        "",
        "timeline",
        "2026-11-01T10:55:00Z ▲ cart 1.4.2 was deployed (pipeline)",
        "2026-11-01T11:00:00Z ● Latency of cart rose",
        "2026-11-01T11:01:00Z ■ opened: Latency of cart rose",
        "… and 1 more",
    ]
    told = json.loads(shell("incidents", "show", INCIDENT["id"], "-o", "json").stdout)
    assert told == INCIDENT | {"timeline": TIMELINE}


def test_an_incident_is_acknowledged_and_resolved_at_the_revision_that_it_has(shell: Any, asked: list[Any]) -> None:
    done = shell("incidents", "ack", INCIDENT["id"])
    assert (done.exit_code, done.stdout) == (0, f"✓ acknowledged: {INCIDENT['title']}\n")
    assert shell("incidents", "resolve", INCIDENT["id"], "--reason", "rolled back").exit_code == 0
    assert asked == [("acknowledge", None, '"3"'), ("resolve", {"reason": "rolled back"}, '"3"')]
    refused = shell("incidents", "resolve", INCIDENT["id"], "--reason", "twice")
    assert (refused.exit_code, "it can go to merged" in refused.stderr) == (5, True)


def test_an_incident_is_commented(shell: Any, asked: list[Any]) -> None:
    done = shell("incidents", "comment", INCIDENT["id"], "The database moves")
    assert (done.exit_code, done.stdout) == (0, "✓ commented: The database moves\n")
    assert asked == [("comments", {"text": "The database moves"}, None)]
