import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/anomalies"
ANOMALY = {
    "id": "0199a0b0-0000-7000-8000-000000000002", "title": "Latency of shop rose to 612 ms", "state": "open",
    "severity": "critical", "onset": "2026-11-01T11:00:00.123456Z",
}  # fmt: skip


@pytest.fixture
def asked() -> list[Any]:
    """The bodies of POSTs with their If-Match, and the queries of GETs, in their order."""
    return []


@pytest.fixture
def api(asked: list[Any]) -> Starlette:
    async def page(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [ANOMALY], "total": 3})

    async def read(request: Request) -> Response:
        return JSONResponse(ANOMALY, headers={"ETag": '"3"'})

    async def acknowledge(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(request.headers["if-match"])
        if asked.count('"3"') > 1:
            return JSONResponse({"detail": "from acknowledged it can go to resolved"}, 409)
        return JSONResponse(ANOMALY | {"state": "acknowledged"})

    async def label(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(await request.json())
        return JSONResponse({"anomaly_id": ANOMALY["id"]} | asked[-1], 201)

    one = f"{PATH}/{ANOMALY['id']}"
    return Starlette(
        routes=[
            Route(PATH, page),
            Route(one, read),
            Route(f"{one}/acknowledge", acknowledge, methods=["POST"]),
            Route(f"{one}/labels", label, methods=["POST"]),
        ]
    )


def test_anomalies_are_listed(shell: Any, asked: list[Any]) -> None:
    result = shell("anomalies", "list", "--state", "open", "--service", "shop")
    assert result.exit_code == 0, result.output
    for said in ("2026-11-01T11:00:00Z", "open", "critical", "Latency of shop rose", ANOMALY["id"], "1 of 3"):
        assert said in result.stdout
    assert asked == [{"skip": "0", "limit": "50", "state": "open", "service": "shop"}]


def test_an_anomaly_is_acknowledged_at_the_revision_that_it_has(shell: Any, asked: list[Any]) -> None:
    result = shell("anomalies", "acknowledge", ANOMALY["id"])
    assert (result.exit_code, result.stdout) == (0, "✓ acknowledged: Latency of shop rose to 612 ms\n")
    assert asked == ['"3"']
    again = shell("anomalies", "acknowledge", ANOMALY["id"])
    assert (again.exit_code, "it can go to resolved" in again.stderr) == (5, True)


def test_an_anomaly_is_labelled(shell: Any, asked: list[Any]) -> None:
    result = shell("anomalies", "label", ANOMALY["id"], "false-positive", "--comment", "The backup")
    assert (result.exit_code, result.stdout) == (0, f"✓ false positive: {ANOMALY['id']}\n")
    assert asked == [{"label": "false_positive", "comment": "The backup"}]
    told = shell("anomalies", "label", ANOMALY["id"], "true-positive", "-o", "json")
    assert json.loads(told.stdout)["label"] == "true_positive"
    assert shell("anomalies", "label", ANOMALY["id"], "maybe").exit_code == 2
