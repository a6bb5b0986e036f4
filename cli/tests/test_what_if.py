import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ID = "0199a0b0-0000-7000-8000-000000000009"
JOB = {"id": ID, "kind": "what_if", "state": "succeeded", "progress": 1.0, "message": ""}
SLO = {"name": "latency", "objectives": [{"op": "lte", "value": 0.25, "targetPercent": 99}]}
MOMENTS = [
    {"time": f"2026-11-01T{hour:02}:00:00Z", "budget_remaining": left, "burn_rate": 1.0}
    for hour, left in enumerate((1.0, 0.5, None, -0.5))
]
OBJECTIVE: dict[str, Any] = {
    "slo": "latency", "objective": 0, "target": 0.99, "good": 985.0, "total": 1000.0, "sli": 0.985,
    "budget_burned": 1.5, "budget_lowest": -0.5, "exhausted_at": "2026-11-01T02:30:00Z", "pages": 1, "tickets": 0,
    "alerts": [{
        "severity": "page", "started_at": "2026-11-01T02:00:00Z", "ended_at": None, "burn_rate": 14.6,
    }],
    "curve": MOMENTS, "missing": None,
}  # fmt: skip
RESULT = {"start": "2026-11-01T00:00:00Z", "end": "2026-11-01T04:00:00Z", "signals": 1, "objectives": [OBJECTIVE]}


@pytest.fixture
def asked() -> list[Any]:
    return []


@pytest.fixture
def api(asked: list[Any]) -> Starlette:
    async def requirement(request: Request) -> Response:
        return JSONResponse({"id": ID, "key": "REQ-1", "service": "checkout", "slos": [SLO]})

    async def what_if(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(await request.json())
        return JSONResponse(JOB, 202)

    async def read(request: Request) -> Response:
        return JSONResponse(JOB | {"result": RESULT})

    async def events(request: Request) -> Response:
        return Response(f"id: 1\nevent: succeeded\ndata: {json.dumps(JOB)}\n\n", media_type="text/event-stream")

    return Starlette(
        routes=[
            Route(f"/api/v1/requirements/{ID}", requirement),
            Route("/api/v1/what-if", what_if, methods=["POST"]),
            Route(f"/api/v1/jobs/{ID}", read),
            Route(f"/api/v1/jobs/{ID}/events", events),
        ]
    )


def test_slos_are_held_against_history_with_other_targets(shell: Any, asked: list[Any]) -> None:
    result = shell(
        "requirements", "what-if", ID, "--target", "0.99", "--target", "0.95", "--from", "2026-11-01T00:00:00Z"
    )
    assert result.exit_code == 0, result.output
    tried = [{"op": "lte", "value": 0.25, "target": target} for target in (0.99, 0.95)]
    assert [each["slo"]["objectives"] for each in asked] == [[each] for each in tried]
    assert asked[0]["service"] == "checkout"
    assert (asked[0]["start"], "end" in asked[0]) == ("2026-11-01T00:00:00Z", False)
    for said in (
        "latency, target 0.99",
        "98.50000% good, 150% of the budget burned, spent first at 2026-11-01T02:30:00Z, 1 page, 0 tickets",
        "█▆▁",
        "page 2026-11-01T02:00:00Z to now, 14.6×",
    ):
        assert said in result.stdout


def test_an_objective_of_which_nothing_is_known_says_why(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVE, "missing", "no units in that time")
    assert "no units in that time; 1 signals match" in shell("requirements", "what-if", ID).stdout
    printed = json.loads(shell("requirements", "what-if", ID, "-o", "json").stdout)
    assert printed["items"][0]["objectives"][0]["missing"] == "no units in that time"


def test_an_slo_that_there_is_not_is_told(shell: Any) -> None:
    result = shell("requirements", "what-if", ID, "--slo", "errors")
    assert (result.exit_code, "REQ-1 has no SLO errors" in result.stderr) == (2, True)
