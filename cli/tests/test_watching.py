"""Watching: the server ends it by the signal that Ctrl-C sends, once it has said all."""

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plumbline_cli import watching

SIGNAL = {
    "id": "0199a0b0-0000-7000-8000-000000000003", "source": "otlp", "metric": "queue.length", "unit": "{item}",
    "kind": "gauge", "service": "shop", "resource": {"service.name": "shop"},
    "attributes": {"service.name": "shop", "queue": "mail"},
}  # fmt: skip


def anomaly(number: int, revision: int = 1, **members: Any) -> dict[str, Any]:
    return {
        "id": f"a{number}", "title": f"Departure {number}", "state": "open", "severity": "warning",
        "onset": f"2026-11-01T11:00:0{number}.123456Z", "revision": revision,
    } | members  # fmt: skip


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "total": len(items)}


def series(*values: float | None, first: int = 0, **members: Any) -> dict[str, Any]:
    """Slices of a second; the last one still goes on."""
    points = [
        {"time": f"2026-11-01T11:00:{first + place:02}Z", "value": value, "lower": None, "upper": None, "score": None}
        | members
        for place, value in enumerate(values)
        if value is not None
    ]
    end = f"2026-11-01T11:00:{first + len(values) - 1:02}Z"
    return {"unit": "{item}", "aggregation": "avg", "step_seconds": 1.0, "end": end, "points": points}


Answers = dict[str, list[Any]]


@pytest.fixture
def answers() -> Answers:
    """What each path answers, one after another: a body, or a status."""
    return {}


@pytest.fixture
def api(answers: Answers) -> Starlette:
    async def answer(request: Request) -> Response:
        left = answers[request.url.path]
        if not left:
            os.kill(os.getpid(), signal.SIGINT)
            return Response(status_code=503)
        said = left.pop(0)
        return Response(status_code=said) if isinstance(said, int) else JSONResponse(said)

    return Starlette(routes=[Route("/{path:path}", answer)])


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Also where whoever began the tests lets them ignore the signal, as a shell does in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two looks is left out."""
    sleep = watching.asyncio.sleep
    monkeypatch.setattr(watching.asyncio, "sleep", lambda seconds: sleep(0))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What a terminal is sent."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=40)
    monkeypatch.setattr(watching, "console", console)
    return screen.getvalue


@pytest.mark.parametrize("noun", ["anomalies", "incidents"])
def test_outside_of_a_terminal_each_change_is_a_line(shell: Any, answers: Answers, noun: str) -> None:
    answers[f"/api/v1/{noun}"] = [
        page(anomaly(2), anomaly(1)),
        page(anomaly(2), anomaly(1)),
        page(anomaly(3), anomaly(2, 2, state="resolved"), anomaly(1)),
    ]
    result = shell(noun, "watch")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout.splitlines() == [
        "2026-11-01T11:00:01Z open warning Departure 1 a1",
        "2026-11-01T11:00:02Z open warning Departure 2 a2",
        "2026-11-01T11:00:02Z resolved warning Departure 2 a2",
        "2026-11-01T11:00:03Z open warning Departure 3 a3",
    ]


def test_json_is_a_line_for_each_change(shell: Any, answers: Answers) -> None:
    answers["/api/v1/anomalies"] = [page(anomaly(1)), page(anomaly(1, 2))]
    result = shell("anomalies", "watch", "--state", "open", "-o", "json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [anomaly(1), anomaly(1, 2)]


def test_a_gateway_that_is_away_is_asked_again(shell: Any, answers: Answers) -> None:
    answers["/api/v1/incidents"] = [503, page(anomaly(1))]
    result = shell("incidents", "watch")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert "503" in result.stderr
    assert "trying again" in result.stderr


def test_what_is_refused_ends_it(shell: Any, answers: Answers) -> None:
    answers["/api/v1/incidents"] = [403]
    assert shell("incidents", "watch").exit_code == 4


def test_a_terminal_is_redrawn_and_left_as_it_was(shell: Any, answers: Answers, terminal: Callable[[], str]) -> None:
    answers["/api/v1/anomalies"] = [page(anomaly(1)), page(anomaly(1, 2, state="acknowledged")), 503]
    result = shell("anomalies", "watch")
    assert (result.exit_code, result.stdout) == (0, "")
    sent = terminal()
    assert sent.index("acknowledged") > sent.index("Departure 1")
    assert "trying again" in sent
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l"), "the cursor is shown again"


def test_a_signal_tells_each_value_once_when_its_slice_is_over(shell: Any, answers: Answers) -> None:
    path = f"/api/v1/signals/{SIGNAL['id']}"
    answers[path] = [SIGNAL] * 3
    band = {"lower": 1.0, "upper": 2.0, "score": 1.5}
    answers[f"{path}/series"] = [series(1, 2, 3), series(1, 2, 4), series(2, 4, None, 5, first=1, **band)]
    result = shell("signals", "watch", SIGNAL["id"])
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout.splitlines() == [
        "2026-11-01T11:00:00Z 1 {item}",
        "2026-11-01T11:00:01Z 2 {item}",
        "2026-11-01T11:00:02Z 4 {item} in 1…2 score 1.50",
    ]


def test_a_signal_is_shown_with_what_it_was(shell: Any, answers: Answers) -> None:
    path = f"/api/v1/signals/{SIGNAL['id']}"
    answers[path], answers[f"{path}/series"] = [SIGNAL] * 2, [series(1, 2, 9)] * 2
    shown = shell("signals", "show", SIGNAL["id"], "--last", "2h").stdout
    for said in (
        "queue.length {queue=mail} shop",
        "▁▂█",
        "avg of 1 s, last 2h, min 1 {item}, max 9 {item}",
        "9 {item}",
    ):
        assert said in shown
    told = json.loads(shell("signals", "show", SIGNAL["id"], "-o", "json").stdout)
    assert told == SIGNAL | {"series": series(1, 2, 9)}
    assert shell("signals", "show", SIGNAL["id"], "--last", "soon").exit_code == 2


def test_signals_are_listed_with_their_latest_values(shell: Any, answers: Answers) -> None:
    answers["/api/v1/signals"] = [page(SIGNAL, SIGNAL | {"id": "0199"}), page(SIGNAL)]
    answers[f"/api/v1/signals/{SIGNAL['id']}/series"] = [series(1, 2, 9)]
    answers["/api/v1/signals/0199/series"] = [series()]
    shown = shell("signals", "list", "--service", "shop").stdout
    for said in ("▁▂█", "9 {item}", "no points", "–", "last 1h", "2 of 2"):
        assert said in shown
    assert json.loads(shell("signals", "list", "-o", "json").stdout) == page(SIGNAL)


def test_a_watch_remembers_so_much_and_no_more() -> None:
    news = watching.Changes()
    for start in range(0, 3 * watching._REMEMBERED, 1000):
        news(page(*({"id": str(start + each), "revision": 1} for each in range(1000))))
    assert len(news._told) == watching._REMEMBERED
