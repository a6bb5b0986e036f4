import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOTALS: dict[str, Any] = {"totals": {"bytes": 30, "stored": 2, "refused": 0}, "unlisted": 0}


@pytest.fixture
def asked() -> list[Any]:
    """The media type, query and body of each upload."""
    return []


@pytest.fixture
def answer() -> list[Any]:
    """The lines of the answer."""
    return [{"waiting": 3, "detail": "enough"}, {"bytes": 30, "stored": 2, "refused": 0}, TOTALS]


@pytest.fixture
def api(asked: list[Any], answer: list[Any]) -> Starlette:
    async def upload(request: Request) -> Response:
        asked.append((request.headers["content-type"], dict(request.query_params), await request.body()))
        if "status" in answer[0]:
            return JSONResponse(answer[0], answer[0]["status"], media_type="application/problem+json")
        return Response("".join(json.dumps(line) + "\n" for line in answer), media_type="application/x-ndjson")

    return Starlette(routes=[Route("/api/v1/telemetry/uploads", upload, methods=["POST"])])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "depth.csv"
    found.write_text("timestamp,value\n1790000000,1\n")
    return found


def test_a_file_is_sent_with_what_is_given(shell: Any, asked: list[Any], file: Path) -> None:
    result = shell("telemetry", "upload", str(file), "--service", "shop", "--metric", "depth", "--kind", "counter")
    assert result.exit_code == 0, result.output
    assert "2 points stored, 0 refused" in result.output
    assert asked == [("text/csv", {"service": "shop", "metric": "depth", "kind": "counter"}, file.read_bytes())]


def test_lines_that_are_refused_are_told(shell: Any, answer: list[Any], file: Path) -> None:
    answer[:] = [
        {"line": 2, "detail": "'x' is no number"},
        {"totals": {"bytes": 30, "stored": 1, "refused": 5}, "unlisted": 4},
    ]
    result = shell("telemetry", "upload", str(file))
    assert result.exit_code == 1
    for told in ("line 2: 'x' is no number", "and 4 more", "1 point stored, 5 refused"):
        assert told in result.output
    result = shell("telemetry", "upload", str(file), "-o", "json")
    assert json.loads(result.stdout)["totals"]["refused"] == 5


def test_an_upload_that_ended_early_is_told(shell: Any, answer: list[Any], file: Path) -> None:
    answer[:] = [TOTALS | {"problem": {"detail": "the database did not answer in time", "status": 503}}]
    result = shell("telemetry", "upload", str(file))
    assert result.exit_code == 1
    assert "the database did not answer in time; what is stored stays" in result.output
    answer[:] = [{"bytes": 30, "stored": 2, "refused": 0}]
    result = shell("telemetry", "upload", str(file))
    assert (result.exit_code, "broke off" in result.output) == (1, True)


def test_what_is_no_file_of_history_is_a_mistake_of_usage(
    shell: Any, answer: list[Any], asked: list[Any], file: Path, tmp_path: Path
) -> None:
    (tmp_path / "depth.txt").write_text("")
    assert shell("telemetry", "upload", str(tmp_path / "depth.txt")).exit_code == 2
    assert asked == []
    answer[:] = [{"status": 422, "title": "malformed", "detail": "the header has no column 'timestamp'"}]
    result = shell("telemetry", "upload", str(file))
    assert (result.exit_code, "no column 'timestamp'" in result.output) == (2, True)
