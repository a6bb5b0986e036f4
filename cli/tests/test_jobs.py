import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/jobs"
JOB: dict[str, Any] = {
    "id": "0199a0b0-0000-7000-8000-000000000007", "kind": "backtest", "state": "queued", "service": "checkout",
    "signal_id": "0199a0b0-0000-7000-8000-000000000003", "progress": 0.0, "message": "", "attempts": 0,
    "worker": None, "created_at": "2026-11-01T11:00:00.123456Z", "created_by": "alice", "started_at": None,
    "finished_at": None,
    "deadline_at": "2026-11-01T11:15:00Z", "revision": 1,
}  # fmt: skip
ALARM: dict[str, Any] = {
    "onset": "2026-11-01T10:00:00Z", "opened_at": "2026-11-01T10:00:20Z", "end": None, "direction": "up",
    "label": "true_positive",
    "peak": {"at": "2026-11-01T10:00:10Z", "score": 3.5, "value": 0.6, "expected": 0.02, "lower": 0, "upper": 0.05},
}  # fmt: skip
QUALITY = {"true_alarms": 1, "false_alarms": 1, "found": 1, "missed": 0, "precision": 0.5, "recall": 1.0,
           "delay_seconds": 20.0}  # fmt: skip
RESULT: dict[str, Any] = {
    "start": "2026-10-18T00:00:00Z", "end": "2026-11-01T00:00:00Z", "step_seconds": 10.0, "points": 120_960,
    "labels": "windows",
    "detectors": [
        {"detector": {}, "name": "strict", "alarms_total": 2, "alarms_a_week": 1.0, "alarms": [ALARM],
         "quality": QUALITY},
        {"detector": {}, "name": "2", "alarms_total": 0, "alarms_a_week": 0.0, "alarms": [], "quality": None},
    ],
}  # fmt: skip


def frame(revision: int, **members: Any) -> str:
    job = JOB | members | {"revision": revision}
    return f"id: {revision}\nevent: {job['state']}\ndata: {json.dumps(job)}\n\n"


SIGNAL: dict[str, Any] = {
    "id": JOB["signal_id"], "service": "checkout", "metric": "http.server.request.duration", "unit": "s",
    "kind": "histogram", "attributes": {"http.route": "/pay"},
}  # fmt: skip


@pytest.fixture
def asked() -> list[Any]:
    """The bodies of POSTs, the queries of lists and the ids that streams resume from, in their order."""
    return []


@pytest.fixture
def ends() -> dict[str, Any]:
    """How the job ends."""
    return {"state": "succeeded", "progress": 1.0, "result": RESULT}


@pytest.fixture
def api(asked: list[Any], ends: dict[str, Any]) -> Starlette:
    async def page(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [JOB], "total": 3})

    async def read(request: Request) -> Response:
        return JSONResponse(JOB | ends)

    async def cancel(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        return JSONResponse(JOB | {"state": "cancelled"})

    async def events(request: Request) -> Response:
        """Breaks off once, in the middle."""
        last = request.headers["last-event-id"]
        asked.append(last)
        told = frame(1) + frame(2, state="running", progress=0.4, message="judges the history")
        if last != "0":
            told = frame(3, **{name: value for name, value in ends.items() if name != "result"})
        return Response(f"retry: 2000\nid: {last}\n\n: heartbeat\n\n{told}", media_type="text/event-stream")

    async def backtest(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(await request.json())
        return JSONResponse(JOB, 202)

    async def signals(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [SIGNAL], "total": 2})

    one = f"{PATH}/{JOB['id']}"
    return Starlette(
        routes=[
            Route(PATH, page),
            Route(one, read),
            Route(f"{one}/cancel", cancel, methods=["POST"]),
            Route(f"{one}/events", events),
            Route("/api/v1/signals", signals),
            Route(f"/api/v1/signals/{JOB['signal_id']}/backtests", backtest, methods=["POST"]),
        ]
    )


def test_jobs_are_listed(shell: Any, asked: list[Any]) -> None:
    result = shell("jobs", "list", "--state", "queued", "--kind", "backtest")
    assert result.exit_code == 0, result.output
    for said in ("2026-11-01T11:00:00Z", "backtest", "queued", "0%", "checkout", "alice", "1 of 3"):
        assert said in result.stdout
    assert asked == [{"skip": "0", "limit": "50", "state": "queued", "kind": "backtest"}]


def test_a_job_is_shown_and_cancelled(shell: Any) -> None:
    assert json.loads(shell("jobs", "show", JOB["id"], "-o", "json").stdout)["result"] == RESULT
    assert "points: 120960" in shell("jobs", "show", JOB["id"]).stdout
    assert shell("jobs", "cancel", JOB["id"]).stdout == f"✓ backtest {JOB['id']} cancelled\n"


def test_a_job_is_followed_to_its_end_also_where_its_stream_breaks_off(shell: Any, asked: list[Any]) -> None:
    result = shell("jobs", "watch", JOB["id"])
    assert (result.exit_code, result.stdout) == (0, f"backtest {JOB['id']} succeeded\n")
    assert asked == ["0", "2"]


def test_a_job_that_fails_is_told_with_its_reason(shell: Any, ends: dict[str, Any]) -> None:
    failure = {"type": "urn:plumbline:problem:not-found", "title": "There is no such thing", "detail": "no signal 7"}
    ends |= {"state": "failed", "failure": failure, "result": None}
    result = shell("jobs", "watch", JOB["id"])
    assert result.exit_code == 1
    assert "failed: There is no such thing: no signal 7" in result.stderr


def test_detectors_are_tried_side_by_side(shell: Any, asked: list[Any]) -> None:
    result = shell(
        "signals", "backtest", JOB["signal_id"], "--detector", "name=strict,bar=0.8,direction=up",
        "--detector", "onset-points=3", "--window", "2026-10-31T10:00:00Z/2026-10-31T11:00:00Z", "--step", "10",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked[0] == {
        "detectors": [{"name": "strict", "bar": 0.8, "direction": "up"}, {"onset_points": 3.0}],
        "windows": [{"start": "2026-10-31T10:00:00Z", "end": "2026-10-31T11:00:00Z"}],
        "step_seconds": 10,
    }
    for said in ("strict", "50%", "100%", "20 s", "2026-11-01T10:00:00Z", "open", "3.50", "true positive"):
        assert said in result.stdout
    whole = shell("signals", "backtest", JOB["signal_id"], "-o", "json")
    assert json.loads(whole.stdout) == RESULT
    assert asked[3] == {"detectors": [{}]}


@pytest.mark.parametrize(
    ("option", "said", "reason"),
    [
        ("--detector", "bars=1", "there is no 'bars'"),
        ("--detector", "bar=high", "bar takes a number"),
        ("--window", "2026-10-31", "is not START/END"),
    ],
)
def test_what_cannot_be_read_is_told(shell: Any, option: str, said: str, reason: str) -> None:
    result = shell("signals", "backtest", JOB["signal_id"], option, said)
    assert result.exit_code == 2
    assert reason in result.stderr
