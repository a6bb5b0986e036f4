"""Every row of docs/authorization.md, tried through the gateway: role by role, on one's own and on others'."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

REQUIREMENTS = "/api/v1/requirements"
ROW = re.compile(r"^\| `(?P<operation>[A-Z]+ /[^`]+)` \|(?P<cells>.+)\|$", re.M)
ROLES = ("viewer", "editor", "reviewer", "operator", "ingest", "admin")
TABLE = {
    row["operation"]: dict(zip(ROLES, (cell.strip() for cell in row["cells"].split("|")), strict=True))
    for row in ROW.finditer((Path(__file__).parents[2] / "docs" / "authorization.md").read_text())
}
Send = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[int]]


@pytest.fixture
def admin(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("admin", subject="root", teams=[])
    return client


def noun_of(operation: str) -> str:
    """`links` of `GET /api/v1/links/{id}`."""
    return operation.partition("/api/v1/")[2].split("/")[0]


async def things(admin: httpx.AsyncClient, operation: str) -> dict[str, str]:
    """Ids of fresh things of the team payments: a requirement, and what the operation is about."""

    async def new(path: str, body: dict[str, Any]) -> str:
        id: str = (await admin.post(path, json=body)).raise_for_status().json()["id"]
        return id

    answer = await admin.post(REQUIREMENTS, json={"title": "Whose is it", "owner_team": "payments"})
    requirement, key = (answer.raise_for_status().json()[name] for name in ("id", "key"))
    made = {"requirement": requirement, "key": key}
    match noun_of(operation):
        case "links":
            made["target"] = await new(REQUIREMENTS, {"title": "Of all"})
            made["link"] = await new("/api/v1/links", link(requirement, made["target"], "refines"))
        case "views":
            made["view"] = await new("/api/v1/views", {"team": "payments", "name": str(uuid4()), "query": {}})
        case "baselines":
            items = [{"requirement_id": requirement, "revision": 1}]
            made["baseline"] = await new("/api/v1/baselines", {"name": str(uuid4()), "items": items})
        case "exemptions":
            made["exemption"] = await new("/api/v1/exemptions", exemption(requirement))
        case "adjustments":
            made["adjustment"] = await new("/api/v1/adjustments", adjustment(requirement))
        case "saved-searches":
            content = {"team": "payments", "name": str(uuid4()), "query": "whose"}
            made["saved-searche"] = await new("/api/v1/saved-searches", content)
        case "documents":
            made["document"] = str(uuid4())
            path = f"/api/v1/documents/runbook/{made['document']}"
            (await admin.put(path, json={"title": "Whose is it", "team": "payments"})).raise_for_status()
    return made


def link(source: str, target: str, type: str) -> dict[str, str]:
    return {"source_id": source, "target_id": target, "type": type}


def exemption(requirement: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    ends = now + timedelta(days=1)
    return {
        "requirement_id": requirement,
        "reason": "maintenance",
        "starts_at": now.isoformat(),
        "expires_at": ends.isoformat(),
    }


def adjustment(requirement: str) -> dict[str, Any]:
    return {
        "requirement_ids": [requirement],
        "category": "maintenance",
        "reason": "a move of data centres",
        "starts_at": datetime.now(UTC).isoformat(),
        "duration": "2h",
    }


def body_of(operation: str, made: dict[str, str]) -> Any:
    update = {"op": "update", "id": made["requirement"], "if_match": "*", "patch": {"title": "Mine"}}
    return {
        f"POST {REQUIREMENTS}": {"title": "Mine", "owner_team": "payments"},
        f"POST {REQUIREMENTS}/bulk": {"items": [update]},
        f"POST {REQUIREMENTS}/bulk/lines": update,
        f"POST {REQUIREMENTS}/import": {"title": "Mine", "owner_team": "payments"},
        f"POST {REQUIREMENTS}/lint": {"statement": "The gateway shall be fast."},
        f"PATCH {REQUIREMENTS}/{{id}}": {"title": "Mine"},
        f"POST {REQUIREMENTS}/{{id}}/transitions": {"to": "in_review"},
        f"POST {REQUIREMENTS}/{{id}}/restore": {"revision": 1},
        f"POST {REQUIREMENTS}/{{id}}/reviews": {"decision": "comment", "revision": 1},
        "PUT /api/v1/policies/{team}": {"required_approvals": 1},
        "POST /api/v1/views": {"team": "payments", "name": str(uuid4()), "query": {}},
        "PUT /api/v1/views/{id}": {"team": "payments", "name": str(uuid4()), "query": {}},
        "POST /api/v1/baselines": {
            "name": str(uuid4()),
            "team": "payments",
            "items": [{"requirement_id": made["requirement"], "revision": 1}],
        },
        "POST /api/v1/exemptions": exemption(made["requirement"]),
        "POST /api/v1/adjustments": adjustment(made["requirement"]),
        "POST /api/v1/adjustments/{id}/decision": {"decision": "approve"},
        "POST /api/v1/adjustments/{id}/revocation": {"reason": "over"},
        "POST /api/v1/exemptions/{id}/decision": {"decision": "approve"},
        "POST /api/v1/exemptions/{id}/revocation": {"reason": "over"},
        "POST /api/v1/links": link(made["requirement"], made.get("target", ""), "conflicts"),
        "POST /api/v1/links/{id}/clearance": {"reason": "still holds"},
        "POST /api/v1/openslo/import": {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": {"name": "whose", "annotations": {"plumbline/requirement": made["key"]}},
            "spec": {
                "service": "whose",
                "indicatorRef": "whose",
                "timeWindow": [{"duration": "30d"}],
                "budgetingMethod": "Occurrences",
                "objectives": [{"target": 0.9}],
            },
        },
        "POST /api/v1/search": {"query": "whose"},
        "POST /api/v1/search/feedback": {
            "query": "whose",
            "kind": "requirement",
            "entity_id": made["requirement"],
            "action": "clicked",
        },
        "POST /api/v1/saved-searches": {"team": "payments", "name": str(uuid4()), "query": "whose"},
        "PUT /api/v1/documents/{kind}/{external_id}": {"title": "Mine", "team": "payments"},
        "POST /api/v1/documents/lines": {
            "kind": "runbook",
            "external_id": made.get("document"),
            "content": {"title": "Mine", "team": "payments"},
        },
        "POST /api/v1/telemetry/points": {"points": []},
    }.get(operation, {})


async def status_of(client: httpx.AsyncClient, operation: str, made: dict[str, str]) -> int:
    """What the call is answered; in a bulk or a file, what its one item is."""
    method, path = operation.split(" ", 1)
    kind = noun_of(operation).removesuffix("s")
    path = path.replace("{id}", made.get(kind, str(uuid4()))).replace("{revision}", "1").replace("{team}", "matrix")
    if external_id := made.get("document"):
        path = path.replace("{kind}/{external_id}", f"runbook/{external_id}")
    path = path.replace("{kind}", "SLI").replace("{name}", "whose")
    query = {"/diff": "?from=1&to=1", "/search": "?q=whose"}.get(path[path.rfind("/") :], "")
    if operation == "GET /api/v1/baselines/{id}/diff":
        query = f"?to={made['baseline']}"
    if operation.endswith("/stream"):
        async with client.stream("GET", path) as response:
            return response.status_code
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    if path.endswith("/lines"):
        headers["Content-Type"] = "application/x-ndjson"
    content = None if method in ("GET", "DELETE") else json.dumps(body_of(operation, made))
    response = await client.request(
        method, path + (query if method == "GET" else ""), content=content, headers=headers
    )
    if path.endswith(("/bulk", "/lines")) and response.status_code == 200:
        result = json.loads(response.text.splitlines()[0])
        return int(result["items"][0]["status"] if "items" in result else result["status"])
    if operation == f"POST {REQUIREMENTS}/import" and response.status_code == 200:
        faults = [line["fault"] for line in map(json.loads, response.text.splitlines()) if "fault" in line]
        return int(faults[0]["problem"]["status"]) if faults else 200
    return response.status_code


async def test_the_table_and_the_services_name_the_same_operations(caller: Any) -> None:
    document = (await caller(token="").get("/openapi.json")).json()
    served = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(TABLE) == served


@pytest.mark.parametrize("operation", TABLE)
async def test_each_role_may_what_the_table_says(caller: Any, admin: httpx.AsyncClient, operation: str) -> None:
    made = await things(admin, operation)
    for role, cell in TABLE[operation].items():
        for team, own in (("payments", True), ("search", False)):
            client = caller(role, subject=f"{role}-of-{team}", teams=[team])
            status = await status_of(client, operation, made)
            allowed = cell in ("all", "signed") or (cell == "own" and own)
            if allowed and not operation.startswith("GET"):
                made = await things(admin, operation)  # what was changed is not what the next one meets
            assert (status == 401) == (cell == "signed"), (role, team, status)
            assert (status != 403) == allowed, (role, team, status)
            assert status < 500, (role, team)
    assert await status_of(caller(token=""), operation, made) == 401
