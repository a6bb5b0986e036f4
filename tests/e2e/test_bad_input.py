"""Bad input through the gateway: a clear problem, never a server error, nothing half-written."""

import gzip
import json
import time
from typing import Any

import pytest

PATH = "/api/v1/requirements"
OTLP = "/v1/metrics"
JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
NOW = time.time_ns()


def otlp(value: Any = 1.0, at: int = NOW) -> bytes:
    point = {"timeUnixNano": str(at), "asDouble": value}
    metric = {"name": "e2e.bad", "unit": "1", "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


BODIES: list[tuple[str, str, bytes, dict[str, str], set[int]]] = [
    ("malformed JSON", PATH, b'{"title": ', JSON, {422}),
    ("wrong type", PATH, b'{"title": 1}', JSON, {422}),
    ("unknown field", PATH, b'{"title": "a", "colour": "red"}', JSON, {422}),
    ("NUL byte", PATH, b'{"title": "a\\u0000b"}', JSON, {422}),
    ("broken UTF-8", PATH, b'{"title": "\xff\xfe"}', JSON, {400, 422}),
    ("lone surrogate", PATH, b'{"title": "\\ud800"}', JSON, {422}),
    ("NaN", PATH, b'{"title": "a", "slos": [{"name": "x", "objectives": [{"target": NaN}]}]}', JSON, {422}),
    ("title of 10 MB", PATH, b'{"title": "' + b"x" * 10_000_000 + b'"}', JSON, {413}),
    ("body over the service's limit", PATH, b'{"title": "' + b"x" * 2_000_000 + b'"}', JSON, {413}),
    ("empty query", "/api/v1/search", b'{"query": ""}', JSON, {422}),
    ("query with NUL", "/api/v1/search", b'{"query": "a\\u0000"}', JSON, {422}),
    ("query of 10 MB", "/api/v1/search", b'{"query": "' + b"x" * 10_000_000 + b'"}', JSON, {413}),
    ("truncated protobuf", OTLP, b"\x0a\xff\x01\x02", PROTOBUF, {400, 422}),
    ("bad gzip", OTLP, b"not gzip", PROTOBUF | {"Content-Encoding": "gzip"}, {400, 422}),
    ("truncated gzip", OTLP, gzip.compress(b"x" * 1000)[:-9], PROTOBUF | {"Content-Encoding": "gzip"}, {400, 422}),
    ("gzip bomb", OTLP, gzip.compress(b"\0" * 60_000_000), PROTOBUF | {"Content-Encoding": "gzip"}, {413}),
    ("unknown encoding", OTLP, b"x", PROTOBUF | {"Content-Encoding": "br"}, {415}),
    ("unknown media type", OTLP, b"x", {"Content-Type": "text/plain"}, {415}),
    ("malformed OTLP/JSON", OTLP, b'{"resourceMetrics": 7}', JSON, {400, 422}),
    ("push without a time", "/api/v1/telemetry/points", b'{"points": [{"metric": "m", "value": 1}]}', JSON, {422}),
]


def assert_problem(response: Any, statuses: set[int]) -> None:
    assert response.status_code in statuses, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["type"].startswith("urn:plumbline:problem:")
    assert body["title"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "statuses"), [case[1:] for case in BODIES], ids=[c[0] for c in BODIES]
)
async def test_a_bad_body_is_a_problem_and_writes_nothing(
    caller: Any, path: str, body: bytes, headers: dict[str, str], statuses: set[int]
) -> None:
    client = caller("editor", "ingest", "operator")
    before = (await client.get(PATH)).json()["total"]
    assert_problem(await client.post(path, content=body, headers=headers), statuses)
    assert (await client.get(PATH)).json()["total"] == before


@pytest.mark.parametrize(
    "body",
    [otlp("NaN"), otlp("Infinity"), otlp(at=NOW - 10 * 86_400 * 10**9), otlp(at=NOW + 86_400 * 10**9)],
    ids=["NaN", "infinite", "far in the past", "far in the future"],
)
async def test_points_that_cannot_be_kept_are_counted_and_explained(caller: Any, body: bytes) -> None:
    response = await caller("ingest").post(OTLP, content=body, headers=JSON)
    assert response.status_code == 200
    partial = response.json()["partialSuccess"]
    assert int(partial["rejectedDataPoints"]) == 1
    assert partial["errorMessage"]


async def test_tokens_that_are_not_good_open_nothing(caller: Any, stack: Any) -> None:
    bad = [
        "",
        "x.y.z",
        stack.token("admin", expires_in=-120),
        stack._plan.issuer.token("admin", aud="another"),
        stack._plan.issuer.token("admin", iss="another"),
    ]
    for token in bad:
        client = caller(token=token)
        for path in (PATH, "/api/v1/search?q=a", "/api/v1/anomalies"):
            assert_problem(await client.get(path), {401})
        assert_problem(await client.post(OTLP, content=otlp(), headers=JSON), {401})
    assert_problem(await caller("viewer").post(OTLP, content=otlp(), headers=JSON), {403})
    assert_problem(await caller("ingest").get(PATH), {403})


async def test_what_is_not_there_is_a_problem(caller: Any) -> None:
    client = caller("admin")
    for path in ("/nothing", "/healthz", "/readyz", "/metrics", "/api/v1/nothing"):
        assert_problem(await client.get(path), {404})
    assert_problem(await client.delete(PATH), {405})
    assert_problem(await client.get(f"{PATH}/not-an-id"), {422})
    assert_problem(await client.get(PATH, params={"limit": 101}), {422})


async def test_the_documents_are_open_to_all(caller: Any) -> None:
    client = caller(token="")
    assert "swagger" in (await client.get("/docs")).text
    assert (await client.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
    assert PATH in (await client.get("/openapi.json")).json()["paths"]
    assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
