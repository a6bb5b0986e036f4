import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/api/v1/deployments"
DEPLOYMENT = {
    "id": "0199a0b0-0000-7000-8000-000000000004", "service": "checkout", "version": "1.4.2",
    "environment": "production", "deployed_at": "2026-11-01T10:55:00.123456Z", "url": None, "description": "",
    "external_id": None, "recorded_at": "2026-11-01T10:55:02Z", "recorded_by": "pipeline",
}  # fmt: skip
HOOKS = "/api/v1/deployment-hooks"
HOOK = {
    "id": "0199a0b0-0000-7000-8000-000000000005", "service": "checkout", "format": "github",
    "secret": "checkout-hook", "environments": ["production"], "github_event": "deployment_status",
    "url": f"https://plumbline.example.org{HOOKS}/0199a0b0-0000-7000-8000-000000000005/deliveries",
    "created_at": "2026-11-01T10:55:02Z", "created_by": "alice", "last_delivery_at": None, "last_outcome": None,
}  # fmt: skip


@pytest.fixture
def asked() -> list[Any]:
    """The bodies of POSTs and the queries of GETs, in their order."""
    return []


@pytest.fixture
def api(asked: list[Any]) -> Starlette:
    async def record(request: Request) -> Response:
        assert request.headers["idempotency-key"]
        asked.append(await request.json())
        return JSONResponse(DEPLOYMENT, 201)

    async def page(request: Request) -> Response:
        asked.append(dict(request.query_params))
        return JSONResponse({"items": [DEPLOYMENT], "total": 3})

    async def make(request: Request) -> Response:
        asked.append(await request.json())
        return JSONResponse(HOOK, 201)

    async def hooks(request: Request) -> Response:
        return JSONResponse({"items": [HOOK], "total": 1})

    async def delete(request: Request) -> Response:
        asked.append(f"DELETE {request.scope['raw_path'].decode().removeprefix(f'{HOOKS}/')}")
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route(PATH, page),
            Route(PATH, record, methods=["POST"]),
            Route(HOOKS, hooks),
            Route(HOOKS, make, methods=["POST"]),
            Route(HOOKS + "/{id:path}", delete, methods=["DELETE"]),
        ]
    )


def test_a_deployment_is_recorded_with_what_is_given(shell: Any, asked: list[Any]) -> None:
    result = shell("deployments", "record", "checkout", "1.4.2", "--environment", "production", "--id", "1208")
    assert result.exit_code == 0, result.output
    assert result.stdout == "✓ checkout 1.4.2 at 2026-11-01T10:55:00Z\n"
    assert asked == [
        {"service": "checkout", "version": "1.4.2", "environment": "production", "external_id": "1208"}
    ]  # fmt: skip
    told = shell("deployments", "record", "checkout", "1.4.2", "--at", "2026-11-01T10:55:00Z", "-o", "json")
    assert json.loads(told.stdout) == DEPLOYMENT
    assert asked[1]["deployed_at"] == "2026-11-01T10:55:00Z"


def test_deployments_are_listed(shell: Any, asked: list[Any]) -> None:
    result = shell("deployments", "list", "--service", "checkout", "--since", "2026-11-01T00:00:00Z")
    assert result.exit_code == 0, result.output
    for said in ("2026-11-01T10:55:00Z", "checkout", "1.4.2", "production", "1 of 3"):
        assert said in result.stdout
    assert asked == [{"skip": "0", "limit": "50", "service": "checkout", "since": "2026-11-01T00:00:00Z"}]
    assert json.loads(shell("deployments", "list", "-o", "json").stdout)["total"] == 3


def test_a_hook_is_made_listed_and_deleted(shell: Any, asked: list[Any]) -> None:
    made = shell(
        "deployments", "hooks", "create", "checkout", "--format", "github", "--secret", "checkout-hook",
        "--environment", "production",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert made.stdout == f"✓ checkout: POST {HOOK['url']}\n"
    listed = shell("deployments", "hooks", "list", "--service", "checkout", "-o", "json")
    assert json.loads(listed.stdout)["items"] == [HOOK]
    table = shell("deployments", "hooks", "list").stdout
    for said in ("github", "never", "1 of 1"):
        assert said in table
    assert shell("deployments", "hooks", "delete", "a/b").exit_code == 0
    assert asked[0] == {
        "service": "checkout", "format": "github", "secret": "checkout-hook", "environments": ["production"],
        "github_event": "deployment_status",
    }  # fmt: skip
    assert asked[-1] == "DELETE a%2Fb"
