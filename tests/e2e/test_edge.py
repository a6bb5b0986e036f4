"""What the gateway lets in: tokens, paths, methods, the open documents, and the fault that is the demo's alone."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from plumbline_stack.keys import Issuer

PATH = "/api/v1/requirements"
READS = (PATH, "/api/v1/search?q=a", "/api/v1/anomalies", "/api/v1/signals", "/api/v1/verdicts")


def forged(signer: Issuer) -> str:
    """Signed by another's key under the real key's name."""
    with tempfile.TemporaryDirectory() as folder:
        token = Issuer(Path(folder)).token("admin")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(signer.token())["kid"]
    return jwt.encode(claims, "k" * 40, algorithm="HS256", headers={"kid": kid})


def unsigned(signer: Issuer) -> str:
    claims = jwt.decode(signer.token("admin"), options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none")


def stranger_signed(signer: Issuer) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return Issuer(Path(folder)).token("admin")


TOKENS: dict[str, Callable[[Issuer], str]] = {
    "none": lambda signer: "",
    "not a JWT": lambda signer: "x.y.z",
    "20 kB": lambda signer: "x" * 20_000,
    "expired": lambda signer: signer.token("admin", expires_in=-120),
    "never expires": lambda signer: signer.token("admin", exp=None),
    "not valid yet": lambda signer: signer.token("admin", nbf=int(time.time()) + 600),
    "wrong audience": lambda signer: signer.token("admin", aud="another"),
    "wrong issuer": lambda signer: signer.token("admin", iss="another"),
    "of nobody": lambda signer: signer.token("admin", sub=None),
    "roles that are no list": lambda signer: signer.token(roles="admin"),
    "tampered": lambda signer: signer.token("admin")[:-8] + "AAAAAAAA",
    "another's key": stranger_signed,
    "another algorithm": forged,
    "no signature": unsigned,
}


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:plumbline:problem:")
    return body


@pytest.mark.parametrize("token", list(TOKENS.values()), ids=list(TOKENS))
async def test_a_bad_token_opens_nothing(caller: Any, signer: Issuer, token: Callable[[Issuer], str]) -> None:
    client = caller(token=token(signer))
    for path in READS:
        assert_problem(await client.get(path), 401)
    telemetry = ("/v1/metrics", "/v1/logs", "/api/v1/write", "/api/v1/telemetry/points", "/api/v1/telemetry/logs")
    for path in (PATH, *telemetry):
        response = await client.post(path, json={})
        assert_problem(response, 401)
        assert "www-authenticate" in response.headers


async def test_a_token_counts_in_its_header_alone(caller: Any, signer: Issuer) -> None:
    client, token = caller(token=""), signer.token("admin")
    assert_problem(await client.get(PATH, params={"access_token": token}), 401)
    assert_problem(await client.get(PATH, headers={"Authorization": f"Basic {token}"}), 401)
    assert (await client.get(PATH, headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_a_role_opens_what_it_is_for(caller: Any) -> None:
    assert_problem(await caller("viewer").post(PATH, json={"title": "a"}), 403)
    assert_problem(await caller("viewer").post("/v1/metrics", json={}), 403)
    assert_problem(await caller("ingest").get(PATH), 403)
    assert_problem(await caller().get(PATH), 403)
    theirs = {"title": "a", "owner_team": "payments"}
    assert_problem(await caller("editor", teams=["platform"]).post(PATH, json=theirs), 403)


@pytest.mark.parametrize("roles", [(), ("admin",)], ids=["anonymous", "admin"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/healthz",
        "/readyz",
        "/metrics",
        "/stats",
        "/docs/",
    ],
)
async def test_what_is_not_for_callers_is_not_there(caller: Any, path: str, roles: tuple[str, ...]) -> None:
    client = caller(*roles) if roles else caller(token="")
    assert_problem(await client.get(path), 404)


@pytest.mark.parametrize("roles", [(), ("admin",)], ids=["anonymous", "admin"])
@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets/../../healthz",
        "/docs/assets/%2e%2e/%2E%2E/healthz",
        "/docs/assets/..%2f..%2fhealthz",
        "/docs/assets/..%5c..%5chealthz",
        "/docs/assets/..\\..\\healthz",
        "//healthz",
        "/./healthz",
        f"{PATH}/../../healthz",
        f"{PATH}/../../../healthz",
        f"{PATH}/%2e%2e/%2e%2e/%2e%2e/healthz",
        f"{PATH}/..%5c..%5c..%5chealthz",
        f"{PATH}/..\\..\\..\\healthz",
        f"{PATH}/..%2f..%2f..%2fhealthz",
        f"{PATH}/../../../../../readyz",
        "/../healthz",
    ],
)
async def test_no_detour_leads_behind_the_gateway(stack: Any, path: str, roles: tuple[str, ...]) -> None:
    # A client would tidy the path up: these bytes go out as they are.
    token = f"authorization: Bearer {stack.token(*roles)}\r\n" if roles else ""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["gateway"])
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n{token}connection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status = int(head.split()[1])
    assert status in (400, 401, 404), head + body
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status


async def test_a_path_of_no_route_is_not_found(caller: Any) -> None:
    client = caller("admin")
    for path in (
        "/api/v1/nothing",
        "/v1/profiles",
        f"{PATH}/",
        f"{PATH}x",
        f"{PATH}/{'0' * 8}-0000-0000-0000-{'0' * 12}",
    ):
        assert_problem(await client.get(path), 404)


@pytest.mark.parametrize(
    "address",
    [
        *(
            f"{PATH}{rest}"
            for rest in ("?limit=0", "?limit=101", "?limit=x", "?skip=-1", "?skip=99999999999999999999")
        ),
        *(f"{PATH}{rest}" for rest in ("?service=%00", "?status=flying", "/not-an-id")),
        *(
            f"/api/v1/search{rest}"
            for rest in ("", "?q=", "?q=%00", "?q=a&kind=x", f"?q={'a' * 5000}", "?q=a&skip=-1")
        ),
        *("/api/v1/signals/x", "/api/v1/anomalies?requirement_id=x", "/api/v1/verdicts?requirement_id=1"),
    ],
)
async def test_a_malformed_address_is_a_problem(caller: Any, address: str) -> None:
    assert_problem(await caller("viewer").get(address), 422)


async def test_a_path_with_hidden_slashes_or_nul_is_a_problem(caller: Any) -> None:
    for path in (f"{PATH}/a%2Fb", f"{PATH}/%00"):
        assert_problem(await caller("viewer").get(path), 400)


async def test_every_documented_path_refuses_other_methods(caller: Any) -> None:
    client = caller("admin")
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        other = next(method for method in ("put", "patch", "delete", "post") if method not in operations)
        values = dict.fromkeys(re.findall(r"{(\w+)}", path), "00000000-0000-0000-0000-000000000000")
        for parameter in next(iter(operations.values())).get("parameters", ()):
            if allowed := parameter["schema"].get("enum"):
                values[parameter["name"]] = allowed[0]
        response = await client.request(other, path.format(**values))
        assert_problem(response, 405)
        allowed = {method.strip().lower() for method in response.headers["allow"].split(",")}
        assert allowed <= set(operations), path


async def test_the_documents_are_open_to_all(caller: Any) -> None:
    client = caller(token="")
    page = await client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    parts = re.findall(r'(?:src|href|url):?\s*=?\s*"(/[^"]*)"', page.text)
    assert {"/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css", "/openapi.json"} <= set(parts)
    for part in parts:
        response = await client.get(part)
        assert response.status_code == 200, part
        assert response.content, part
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {PATH, "/api/v1/search", "/api/v1/anomalies", "/v1/metrics", "/v1/logs", "/api/v1/log-templates"} <= set(
        paths
    )
    assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"


async def test_nobody_without_the_secret_gets_a_fault(caller: Any, stack: Any) -> None:
    client = caller("viewer")
    ask = {"x-plumbline-fault-abort-status": "503", "x-plumbline-fault-delay-ms": "3000"}
    for guess in ({}, {"x-plumbline-fault": ""}, {"x-plumbline-fault": "a" * 32}):
        began = time.monotonic()
        assert (await client.get(PATH, headers=ask | guess)).status_code == 200
        assert time.monotonic() - began < 2.5
    assert_problem(await client.get(PATH, headers=ask | stack.fault_header), 503)
