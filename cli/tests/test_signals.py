"""`plumbline signals backfill` and `retune`, `plumbline logs mine --service`: asked for, followed, drawn."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ID = "0199a0b0-0000-7000-8000-000000000011"
SIGNAL = "0199a0b0-0000-7000-8000-000000000003"
SPAN = {"start": "2026-10-18T00:00:00Z", "end": "2026-11-01T00:00:00Z"}
BACKFILLED: dict[str, Any] = {
    "scored": 120_000, "anomalies": 3,
    "signals": [
        {"signal_id": SIGNAL, "skipped": None, **SPAN, "slices": 120_960, "scored": 120_000, "anomalies": 3,
         "left_out": 0},
        {"signal_id": ID, "skipped": "no detector watches it", "start": None, "end": None, "slices": 0, "scored": 0,
         "anomalies": 0, "left_out": 0},
    ],
}  # fmt: skip
QUALITY = {"true_alarms": 1, "false_alarms": 4, "found": 1, "missed": 0, "precision": 0.2, "recall": 1.0,
           "delay_seconds": 20.0}  # fmt: skip
RETUNED: dict[str, Any] = {
    "proposal": {
        "signal_id": SIGNAL, "revision": 0, "bar": 1.3,
        "effect": {**SPAN, "now": {"bar": 1.0, "alarms": 9, "a_week": 4.5},
                   "then": {"bar": 1.3, "alarms": 3, "a_week": 1.5}, "kept": [], "lost": []},
    },
    "now": QUALITY, "then": None, "applied_revision": None,
}  # fmt: skip
MINED: dict[str, Any] = {
    **SPAN, "lines": 1_204_118, "templates_total": 2, "others": 0, "changes_total": 1,
    "templates": [{"template": "cart <*> paid", "count": 1_204_000, "counts": list(range(48)), "examples": [],
                   "first_seen": None, "last_seen": None}],
    "changes": [{"kind": "new", **SPAN, "template": "disk full", "score": 2.0, "expected": 0.0, "came": 9.0,
                 "sentence": "\"disk full\" is new"}],
}  # fmt: skip


@pytest.fixture
def asked() -> list[tuple[str, Any]]:
    """The paths and bodies of POSTs."""
    return []


@pytest.fixture
def results() -> dict[str, Any]:
    """By the end of the path."""
    return {"backfills": BACKFILLED, "retunes": RETUNED, "mining": MINED}


@pytest.fixture
def api(asked: list[tuple[str, Any]], results: dict[str, Any]) -> Starlette:
    job = {"id": ID, "kind": "a kind", "state": "succeeded", "progress": 1.0, "message": ""}

    async def post(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append((request.url.path, await request.json()))
        return JSONResponse(job, 202)

    async def read(request: Request) -> Response:
        return JSONResponse(job | {"result": results[asked[-1][0].rsplit("/", 1)[1]]})

    async def events(request: Request) -> Response:
        return Response(f"id: 1\nevent: succeeded\ndata: {json.dumps(job)}\n\n", media_type="text/event-stream")

    return Starlette(
        routes=[
            Route(f"/api/v1/jobs/{ID}", read),
            Route(f"/api/v1/jobs/{ID}/events", events),
            Route("/api/v1/{rest:path}", post, methods=["POST"]),
        ]
    )


def test_the_history_of_a_signal_or_of_a_service_is_backfilled(shell: Any, asked: list[Any]) -> None:
    result = shell("signals", "backfill", SIGNAL, "--from", SPAN["start"])
    assert result.exit_code == 0, result.output
    assert "120,960" in result.stdout
    assert "no detector watches it" in result.stdout
    told = shell("signals", "backfill", "--service", "shop", "--output", "json")
    assert json.loads(told.stdout) == BACKFILLED
    assert asked == [
        (f"/api/v1/signals/{SIGNAL}/backfills", {"start": SPAN["start"]}),
        ("/api/v1/services/backfills", {"service": "shop"}),
    ]


def test_one_signal_or_one_service_is_named(shell: Any) -> None:
    for arguments in ((), (SIGNAL, "--service", "shop")):
        result = shell("signals", "backfill", *arguments)
        assert (result.exit_code, "name a SIGNAL, or a --service" in result.stderr) == (2, True)


def test_a_bar_is_proposed_and_only_set_where_that_is_asked(
    shell: Any, asked: list[Any], results: dict[str, Any]
) -> None:
    result = shell("signals", "retune", SIGNAL)
    assert result.exit_code == 0, result.output
    for part in ("1.3", "4.5", "20%", f"nothing was changed; plumbline signals retune {SIGNAL} --apply"):
        assert part in result.stdout
    results["retunes"] = RETUNED | {"applied_revision": 1}
    result = shell("signals", "retune", SIGNAL, "--apply", "--days", "30", "--reason", "too loud")
    assert "the bar is 1.3 from now on, revision 1" in result.stdout
    assert [body for _, body in asked] == [
        {"days": 14, "apply": False},
        {"days": 30, "apply": True, "reason": "too loud"},
    ]


def test_what_a_service_has_logged_is_mined_on_the_server(shell: Any, asked: list[Any]) -> None:
    result = shell("logs", "mine", "--service", "shop", "--to", SPAN["end"])
    assert result.exit_code == 0, result.output
    for part in ("1,204,000", "cart <*> paid", "▁", "is new"):
        assert part in result.stdout
    assert "1204118 lines, 2 templates, 1 change" in result.stderr
    assert asked == [("/api/v1/log-templates/mining", {"service": "shop", "end": SPAN["end"]})]


def test_a_file_or_a_service_is_named_and_where_a_file_goes(shell: Any) -> None:
    for arguments, told in (
        ((), "name a FILE, or a --service"),
        (("app.log", "--service", "shop"), "name a FILE, or a --service"),
        (("app.log",), "name the CSV to write by --out"),
    ):
        result = shell("logs", "mine", *arguments)
        assert (result.exit_code, told in result.stderr) == (2, True)
