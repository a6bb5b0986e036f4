import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from plumbline_stack.config import StackConfig
from plumbline_stack.keys import Issuer
from plumbline_stack.supervisor import Stack

REQUIREMENTS = "/api/v1/requirements"
STREAM = "/api/v1/events/stream"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def http2(path: str, *methods: str, **headers: str) -> bytes:
    """A connection in prior knowledge, one request for each method: HTTP/2 takes any."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def literal(name: str, value: str) -> bytes:
        return b"\0" + b"".join(bytes([len(part)]) + part.encode() for part in (name, value))

    sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for number, method in enumerate(methods):
        fields = {":method": method, ":scheme": "http", ":path": path, ":authority": "x"} | headers
        # END_STREAM and END_HEADERS
        sent += frame(1, 5, 2 * number + 1, b"".join(literal(*field) for field in fields.items()))
    return sent


def problem(reply: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = reply.json()
    assert content["type"] == f"urn:plumbline:problem:{slug}"
    assert content["status"] == status
    assert content["title"]
    assert len(content["trace_id"]) == 32
    return content


@pytest.mark.parametrize(
    ("path", "service"),
    [
        (REQUIREMENTS, "requirements"),
        (f"{REQUIREMENTS}/1/slos", "requirements"),
        ("/api/v1/views", "requirements"),
        ("/api/v1/baselines", "requirements"),
        ("/api/v1/exemptions", "requirements"),
        ("/api/v1/coverage", "requirements"),
        ("/api/v1/adjustments", "requirements"),
        ("/api/v1/search", "search"),
        ("/api/v1/documents/1", "search"),
        ("/api/v1/reindex", "search"),
        ("/api/v1/saved-searches", "search"),
        ("/api/v1/signals", "analysis"),
        ("/api/v1/jobs", "analysis"),
        ("/api/v1/jobs/1/events", "analysis"),
        ("/api/v1/what-if", "analysis"),
        ("/api/v1/anomalies", "analysis"),
        ("/api/v1/incidents", "analysis"),
        ("/api/v1/services/graph", "analysis"),
        ("/api/v1/verdicts", "analysis"),
        ("/api/v1/log-templates", "analysis"),
        ("/api/v1/telemetry", "analysis"),
    ],
)
async def test_a_path_reaches_its_service(gateway: httpx.AsyncClient, path: str, service: str) -> None:
    reply = await gateway.get(path)
    assert reply.status_code == 200
    assert reply.json()["service"] == service


async def test_a_request_without_a_token_is_refused(gateway: httpx.AsyncClient) -> None:
    del_auth = {"authorization": ""}
    problem(await gateway.get(REQUIREMENTS, headers=del_auth), 401, "unauthenticated")
    problem(await gateway.post("/v1/metrics", headers=del_auth), 401, "unauthenticated")


@pytest.mark.parametrize(
    "claims",
    [{"expires_in": -120}, {"aud": "another"}, {"iss": "another"}, {"exp": None}, {"nbf": 4_000_000_000}],
    ids=["expired", "wrong audience", "wrong issuer", "without expiry", "not yet valid"],
)
async def test_an_unfit_token_is_refused(stack: Stack, gateway: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    token = Issuer(stack.folder / "secrets").token("viewer", **claims)
    reply = await gateway.get(REQUIREMENTS, headers={"authorization": f"Bearer {token}"})
    problem(reply, 401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_of_another_key_is_refused(gateway: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {"authorization": f"Bearer {issuer.token('admin')}"}
    problem(await gateway.get(REQUIREMENTS, headers=headers), 401, "unauthenticated")


async def test_a_token_in_the_query_string_is_not_taken(stack: Stack, gateway: httpx.AsyncClient) -> None:
    reply = await gateway.get(
        REQUIREMENTS, params={"access_token": stack.token("viewer")}, headers={"authorization": ""}
    )
    problem(reply, 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/api/v2/requirements", "/api/v1/none"])
async def test_what_is_not_public_is_not_found(gateway: httpx.AsyncClient, path: str) -> None:
    assert problem(await gateway.get(path), 404, "not-found")["instance"] == path


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/docs/assets/../../healthz", 404),
        ("/docs/assets/%2e%2e/%2e%2e/healthz", 404),
        ("//healthz", 404),
        ("/docs/assets/..%2f..%2fhealthz", 400),
    ],
)
async def test_internal_paths_cannot_be_reached_through_public_ones(stack: Stack, path: str, status: int) -> None:
    # A client would tidy the path up: these bytes go out as they are.
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["gateway"])
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/openapi.json", "application/json"),
        ("/asyncapi.json", "application/json"),
    ],
)
async def test_the_documents_of_the_suite_are_public(gateway: httpx.AsyncClient, path: str, media: str) -> None:
    reply = await gateway.get(path, headers={"authorization": ""})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == media


async def test_a_body_over_the_limit_is_refused(gateway: httpx.AsyncClient) -> None:
    body = b"x" * (8 * 1024 * 1024 + 1)
    problem(await gateway.post(REQUIREMENTS, content=body), 413, "body-too-large")
    assert (await gateway.post(REQUIREMENTS, content=body[:-1])).json()["bytes"] == len(body) - 1


async def test_a_browser_of_an_allowed_origin_may_ask(gateway: httpx.AsyncClient) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,if-match"}
    headers = {"authorization": "", "origin": "http://localhost:3000", **ask}
    reply = await gateway.options(REQUIREMENTS, headers=headers)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "if-match" in reply.headers["access-control-allow-headers"]
    refused = await gateway.get(REQUIREMENTS, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_a_browser_of_another_origin_may_not(gateway: httpx.AsyncClient) -> None:
    headers = {"authorization": "", "origin": "http://evil.example", "access-control-request-method": "POST"}
    reply = await gateway.options(REQUIREMENTS, headers=headers)
    assert "access-control-allow-origin" not in reply.headers


async def test_only_reading_is_tried_again(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get(f"{REQUIREMENTS}/fail")).json()["attempts"] == 3
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await gateway.request(method, f"{REQUIREMENTS}/fail")).json()["attempts"] == 1


async def test_a_stream_passes_as_it_comes_and_outlives_the_time_limit(gateway: httpx.AsyncClient) -> None:
    began = time.perf_counter()
    async with gateway.stream("GET", STREAM, params={"seconds": 32}, timeout=40) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        chunks = reply.aiter_bytes()
        assert await anext(chunks) == b"id: 1\n\n"
        assert time.perf_counter() - began < 5
        assert await anext(chunks) == b"id: 2\n\n"
    assert time.perf_counter() - began > 31  # ROUTE_TIMEOUT is 30 s


async def test_a_stream_is_not_tried_again(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get(STREAM, params={"fail": ""})).json()["attempts"] == 1


async def test_a_fault_needs_the_secret(stack: Stack, gateway: httpx.AsyncClient) -> None:
    async def seconds(**headers: str) -> float:
        began = time.perf_counter()
        reply = await gateway.get(REQUIREMENTS, headers=headers)
        assert reply.status_code == 200
        assert not [name for name in reply.json()["headers"] if name.startswith("x-plumbline")]
        return time.perf_counter() - began

    delay = {"x-plumbline-fault-delay-ms": "2000"}
    assert await seconds(**delay, **stack.fault_header) > 1.9  # timers are not exact
    assert await seconds(**delay) < 1.8
    assert await seconds(**delay, **{"x-plumbline-fault": ""}) < 1.8
    assert await seconds(**delay, **{"x-plumbline-fault": "guess-guess-guess"}) < 1.8
    assert await seconds(**{"x-envoy-fault-delay-request": "2000"}, **stack.fault_header) < 1.8


async def test_a_fault_may_be_an_error(stack: Stack, gateway: httpx.AsyncClient) -> None:
    headers = {"x-plumbline-fault-abort-status": "503", **stack.fault_header}
    reply = await gateway.get(REQUIREMENTS, headers=headers)
    problem(reply, 503, "unavailable")
    assert reply.headers["retry-after"] == "1"


async def test_headers_of_the_inside_are_not_believed_from_outside(gateway: httpx.AsyncClient) -> None:
    sent = {
        "x-envoy-internal": "true",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/healthz",
        "x-request-id": "mine",
    }
    reply = await gateway.get(REQUIREMENTS, headers=sent)
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers["server"] == "plumbline-gateway"
    received = reply.json()["headers"]
    assert received["x-request-id"] == "mine"
    assert not {"x-envoy-internal", "x-envoy-upstream-rq-timeout-ms", "x-envoy-original-path"} & set(received)


async def test_too_many_requests_are_told_so_and_telemetry_has_its_own_allowance(
    new_config: Callable[..., StackConfig], stack: Stack
) -> None:
    """The second stack wants the ports of the shared one, gets others, and leaves that one untouched."""
    config = new_config("limited", ports=stack.ports, rate_limit_per_second=1, rate_limit_burst=5)
    async with Stack(config) as limited:
        headers = {"authorization": f"Bearer {limited.token('viewer')}"}
        async with httpx.AsyncClient(base_url=limited.urls["gateway"], headers=headers) as client:
            replies = [await client.get(REQUIREMENTS) for _ in range(10)]
            refused = [reply for reply in replies if reply.status_code != 200]
            assert 4 <= len(refused) <= 6
            problem(refused[0], 429, "rate-limited")
            assert refused[0].headers["retry-after"] == "1"
            # A request that is under way when the stack stops is answered still.
            await asyncio.sleep(1.1)  # until the allowance has a token again
            delay = {"x-plumbline-fault-delay-ms": "700", **limited.fault_header}
            slow = asyncio.create_task(client.get(REQUIREMENTS, headers=delay))
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            await limited.child("gateway").stop()
            assert (await slow).status_code == 200
            assert time.perf_counter() - began < 2.5
        assert not set(limited.ports.values()) & set(stack.ports.values())
        assert {child.status for child in stack.status().children} == {"running"}


async def test_a_request_shows_as_server_and_client_span(stack: Stack, gateway: httpx.AsyncClient) -> None:
    parent = "b7ad6b7169203331"
    await gateway.get(REQUIREMENTS, headers={"traceparent": f"00-{TRACE}-{parent}-01"})
    async with httpx.AsyncClient(base_url=stack.urls["collector"]) as collector, asyncio.timeout(20):
        while True:
            spans = (await collector.get(f"/traces/{TRACE}")).json()
            if len(spans) == 2:
                break
            await asyncio.sleep(0.1)
        listed = (await collector.get("/traces", params={"service": "plumbline-gateway"})).json()
    server, client = sorted(spans, key=lambda span: span["kind"] != "server")
    assert (server["kind"], server["name"], server["service"]) == (
        "server",
        f"GET {REQUIREMENTS}",
        "plumbline-gateway",
    )
    assert (client["kind"], client["parent_id"]) == ("client", server["span_id"])
    assert server["parent_id"] == parent
    assert server["start"] <= client["start"] <= client["end"] <= server["end"]
    assert TRACE in {trace["trace_id"] for trace in listed}
    assert not [trace for trace in listed if " /v1/" in trace["name"]]


async def test_its_latency_is_measured_with_the_fault_and_by_status(stack: Stack, gateway: httpx.AsyncClient) -> None:
    delay = {"x-plumbline-fault-delay-ms": "600", **stack.fault_header}
    await gateway.get("/api/v1/verdicts/slow", headers=delay)
    await gateway.get("/api/v1/verdicts/slow", headers={"x-plumbline-fault-abort-status": "503", **delay})

    async with httpx.AsyncClient(base_url=stack.urls["analysis"]) as analysis, asyncio.timeout(20):
        while True:
            received = (await analysis.get("/received")).json()
            points = {
                point["attributes"]["http.response.status_code"]: point
                for point in received.get("plumbline-gateway/http.server.request.duration", [])
                if point["attributes"]["http.route"] == "/api/v1/verdicts" and point["counts"][12]
            }
            if {200, 503} <= set(points) and "plumbline-host/system.memory.utilization" in received:
                break
            await asyncio.sleep(0.1)
    slow = points[200]
    assert slow["unit"] == "s"
    assert slow["bounds"][11:13] == [0.5, 0.75]
    assert slow["attributes"]["http.response.status_class"] == "2xx"
    assert slow["attributes"]["http.request.method"] == "GET"
    assert points[503]["attributes"]["http.response.status_class"] == "5xx"
    assert 0 < slow["time"] - slow["start"] < 600e9


async def test_methods_that_callers_invent_are_one(stack: Stack) -> None:
    """Each value of a tag stays in Envoy's memory: who needs no token must not bring new ones."""
    parent, trace = "b7ad6b7169203332", "1af7651916cd43dd8448eb211c80319d"
    invented = [f"FOO{number}" for number in range(20)]
    _, writer = await asyncio.open_connection("127.0.0.1", stack.ports["gateway"])
    writer.write(http2(REQUIREMENTS, *invented, traceparent=f"00-{trace}-{parent}-01"))
    async with (
        httpx.AsyncClient(base_url=stack.urls["analysis"]) as analysis,
        httpx.AsyncClient(base_url=stack.urls["collector"]) as collector,
        asyncio.timeout(20),
    ):
        while True:
            points = (
                (await analysis.get("/received")).json().get("plumbline-gateway/http.server.request.duration", [])
            )
            spans = (await collector.get(f"/traces/{trace}")).json()
            others = [point for point in points if point["attributes"]["http.request.method"] == "_OTHER"]
            if others and len(spans) == len(invented):
                break
            await asyncio.sleep(0.1)
    writer.close()
    (other,) = others
    assert (other["count"], other["attributes"]["http.response.status_code"]) == (len(invented), 401)
    assert not {point["attributes"]["http.request.method"] for point in points} & set(invented)
    assert {span["name"] for span in spans} == {f"HTTP {REQUIREMENTS}"}
    assert {span["attributes"]["http.request.method"] for span in spans} == {"_OTHER"}
