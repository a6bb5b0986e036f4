import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/sources"
ID = "0199a0b0-0000-7000-8000-000000000009"
EXAMPLES = Path(__file__).parents[2] / "examples" / "sources"
ERROR = {"reason": "timeout", "detail": "timed out after 10 s", "query": "orders", "at": "2026-11-01T10:55:00Z"}
SOURCE = {
    "id": ID, "name": "eu", "kind": "prometheus", "enabled": True, "revision": 3,
    "spec": {"url": "https://prometheus.example.org", "queries": [{"name": "orders", "query": "orders"}]},
    "status": {
        "state": "failing", "last_success": "2026-11-01T10:54:00.5Z", "last_error": ERROR,
        "failing_since": "2026-11-01T10:55:00Z", "next_try": None, "lag_seconds": 71.2, "points": 12345,
        "warnings": ["a store is away"],
        "backfill": {"since": "2026-10-25T10:55:00Z", "missing_seconds": 60, "done": 0.75},
    },
}  # fmt: skip
CAME = {"query": "orders", "series": 2, "points": 40, "seconds": 0.12, "warnings": ["a store is away"]}


class Gateway:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.problem: Any = None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(PATH, self.page),
                Route(PATH, self.create, methods=["POST"]),
                Route(f"{PATH}/{ID}", self.read),
                Route(f"{PATH}/{ID}", self.change, methods=["PUT", "DELETE"]),
                Route(f"{PATH}/{ID}/test", self.test, methods=["POST"]),
            ]
        )

    async def page(self, request: Request) -> Response:
        found = [SOURCE] if request.query_params.get("name") in (None, "eu", "prometheus-eu") else []
        return JSONResponse({"items": found, "total": len(found)})

    async def create(self, request: Request) -> Response:
        self.asked.append(await request.json())
        return JSONResponse(SOURCE, 201)

    async def read(self, request: Request) -> Response:
        return JSONResponse(SOURCE, headers={"ETag": '"3"'})

    async def change(self, request: Request) -> Response:
        self.asked.append((request.method, request.headers["if-match"]))
        return JSONResponse(SOURCE) if request.method == "PUT" else Response(status_code=204)

    async def test(self, request: Request) -> Response:
        self.asked.append(request.query_params.get("query"))
        return JSONResponse(CAME | {"problem": self.problem})


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def api(gateway: Gateway) -> Starlette:
    return gateway.app()


def test_sources_are_listed_with_what_is_wrong(shell: Any) -> None:
    result = shell("sources", "list")
    assert result.exit_code == 0, result.output
    for said in ("eu", "failing", "71 s", "12,345", "75% since", "orders: timed out after 10 s", "1 of 1"):
        assert said in result.stdout
    assert json.loads(shell("sources", "list", "-o", "json").stdout)["total"] == 1


def test_a_source_is_shown_by_its_name_and_by_its_id(shell: Any) -> None:
    for name in ("eu", ID):
        result = shell("sources", "show", name)
        assert result.exit_code == 0, result.output
        for said in ("https://prometheus.example.org", "2026-11-01T10:54:00Z", "a store is away", "orders"):
            assert said in result.stdout
    none = shell("sources", "show", "us")
    assert (none.exit_code, none.stderr) == (3, "✗ there is no source us\n")


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_the_examples_are_added(shell: Any, gateway: Gateway, file: Path) -> None:
    result = shell("sources", "add", str(file))
    assert (result.exit_code, result.stdout) == (0, "✓ eu (prometheus), revision 3\n")
    assert gateway.asked[0]["kind"] == file.stem
    assert len(gateway.asked[0]["spec"]["queries"]) > 1


def test_a_source_that_is_there_is_replaced_where_that_is_asked_for(shell: Any, gateway: Gateway) -> None:
    result = shell("sources", "add", "--replace", str(EXAMPLES / "prometheus.yaml"))
    assert result.exit_code == 0, result.output
    assert gateway.asked == [("PUT", '"3"')]


@pytest.mark.parametrize("content", ["", "- 1", "a: [", "just words"])
def test_a_file_that_holds_no_source_is_named(shell: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    result = shell("sources", "add", str(tmp_path / "bad.yaml"))
    assert result.exit_code == 2
    assert "bad.yaml" in result.stderr
    assert shell("sources", "add", str(tmp_path / "none.yaml")).exit_code == 2


def test_a_query_is_tried(shell: Any, gateway: Gateway) -> None:
    result = shell("sources", "test", "eu", "--query", "orders")
    assert (result.exit_code, result.stdout) == (0, "✓ orders: 2 series, 40 points in 0.12 s\n! a store is away\n")
    gateway.problem = ERROR
    result = shell("sources", "test", "eu")
    assert (result.exit_code, result.stderr) == (1, "✗ orders: timed out after 10 s (timeout)\n")
    assert gateway.asked == ["orders", None]


def test_a_source_is_removed_as_it_was_read(shell: Any, gateway: Gateway) -> None:
    result = shell("sources", "remove", "eu")
    assert (result.exit_code, result.stdout) == (0, "✓ removed: eu\n")
    assert gateway.asked == [("DELETE", '"3"')]
