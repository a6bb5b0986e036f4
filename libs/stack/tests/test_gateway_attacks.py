"""The gateway under attack: requests as raw bytes, the answer that each must get, what of it reaches a service."""

import asyncio
import itertools
import json
import re
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plumbline_stack import ports, processes
from plumbline_stack.gateway import Gateway, GatewayOptions
from plumbline_stack.keys import Issuer

PATH = "/api/v1/requirements"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
SECURE = {
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=31536000",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


@dataclass
class Answer:
    """All that came back before the connection ended; a second answer would stand in `rest`."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes

    @classmethod
    def of(cls, received: bytes) -> "Answer":
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
        length = int(headers["content-length"])
        return cls(int(line.split()[1]), headers, rest[:length], rest[length:])


@dataclass
class Edge:
    """A running gateway before three services that remember what they were sent."""

    gateway: Gateway
    issuer: Issuer
    folder: Path
    analysis: int
    """The port of a service behind it."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    _addresses: Any = field(default_factory=lambda: (f"127.0.{third}.1" for third in itertools.count(1)))

    async def send(self, raw: bytes, address: str | None = None) -> bytes:
        """What comes back until the connection ends; from an address of its own unless told."""
        local = (address or next(self._addresses), 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, local_addr=local)
        writer.write(raw)
        async with asyncio.timeout(10):
            received = await reader.read()
        writer.close()
        return received

    def request(self, line: str, *fields: str, body: str = "", subject: str = "mallory", token: bool = True) -> bytes:
        """Bytes as they are given; Latin-1, each character a byte."""
        known = (f"authorization: Bearer {self.issuer.token('viewer', subject=subject)}",) if token else ()
        head = "".join(f"{each}\r\n" for each in (line, *fields, *known, "connection: close"))
        return f"{head}\r\n{body}".encode("latin-1")

    async def ask(self, line: str, *fields: str, **options: Any) -> Answer:
        address = options.pop("address", None)
        return Answer.of(await self.send(self.request(line, "host: x", *fields, **options), address))


def service(name: str, seen: list[dict[str, Any]]) -> Starlette:
    async def anything(request: Request) -> Response:
        body = (await request.body()).decode()
        raw = request.scope["raw_path"].decode()
        seen.append(
            {"service": name, "method": request.method, "path": raw, "headers": request.headers, "body": body}
        )
        return JSONResponse({})

    return Starlette(routes=[Route("/{path:path}", anything, methods=METHODS)])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge() -> AsyncIterator[Edge]:
    seen: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="plumbline-edge-") as name:
        folder = Path(name)
        issuer = Issuer(folder / "secrets")
        services = {each: ports.choose() for each in ("requirements", "search", "analysis")}
        nowhere = f"http://127.0.0.1:{ports.choose()}/"
        options = GatewayOptions(
            issuer.issuer,
            issuer.audience,
            issuer.jwks_path,
            fault_secret="",
            traces_endpoint=nowhere,
            metrics_endpoint=nowhere,
            stats_interval="60s",
            subject_rate_limit_per_second=1,
            subject_rate_limit_burst=20,
            address_rate_limit_per_second=1,
            address_rate_limit_burst=30,
            headers_timeout="0.5s",
            request_timeout="1s",
            cors_origins="https://console[.]example",
        )
        gateway = Gateway(folder, ports.choose(), services, options)
        gateway.prepare()
        servers = [
            uvicorn.Server(uvicorn.Config(service(each, seen), port=port, log_config=None, lifespan="off"))
            for each, port in services.items()
        ]
        tasks = [asyncio.create_task(server.serve()) for server in servers]
        process = await processes.start(gateway.command(), folder / "log")
        async with asyncio.timeout(60):
            while not await gateway.ready():
                await asyncio.sleep(0.05)
        yield Edge(gateway, issuer, folder, services["analysis"], seen)
        await processes.stop(process, gateway.command().stop_signal, 10)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


@dataclass(frozen=True)
class Attack:
    """`reaches` is what a service sees of it: its name, the method and the path."""

    what: str
    line: str
    fields: tuple[str, ...]
    body: str
    status: int
    reaches: tuple[str, str, str] | None = None


HOST = "host: x"


def attack(what: str, *fields: str, status: int, line: str = f"POST {PATH} HTTP/1.1", body: str = "") -> Attack:
    return Attack(what, line, fields, body, status)


def path(path: str, status: int, reaches: str = "") -> Attack:
    """GET of a path as it is; `reaches` is a service and the path that it sees."""
    found = reaches.split(" ")
    seen = (found[0], "GET", found[1]) if reaches else None
    return Attack(path, f"GET {path} HTTP/1.1", (HOST,), "", status, seen)


CHUNKED = "transfer-encoding: chunked"
END = "0\r\n\r\n"
# A body that another parser would take for its end, and for a request of its own.
SMUGGLED = f"0\r\n\r\nGET {PATH}/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"

FRAMING = [
    attack("both lengths", HOST, "content-length: 6", CHUNKED, body=SMUGGLED, status=400),
    attack("both lengths, the other way", HOST, CHUNKED, "content-length: 6", body=SMUGGLED, status=400),
    attack("two lengths", HOST, "content-length: 1", "content-length: 2", body="ab", status=400),
    attack("the same length twice", HOST, "content-length: 2", "content-length: 2", body="ab", status=400),
    attack("a list of lengths", HOST, "content-length: 2, 2", body="ab", status=400),
    attack("a length with a sign", HOST, "content-length: +2", body="ab", status=400),
    attack("a negative length", HOST, "content-length: -1", body="ab", status=400),
    attack("a length in hexadecimal", HOST, "content-length: 0x2", body="ab", status=400),
    attack("a length beyond 64 bits", HOST, "content-length: 99999999999999999999", body="ab", status=400),
    attack("a coding that hides chunked", HOST, "transfer-encoding: xchunked", body=SMUGGLED, status=501),
    attack("chunked and another coding", HOST, "transfer-encoding: chunked, identity", body=SMUGGLED, status=501),
    attack("two codings", HOST, CHUNKED, "transfer-encoding: identity", body=SMUGGLED, status=501),
    attack("a vertical tab before chunked", HOST, "transfer-encoding: \x0bchunked", body=SMUGGLED, status=400),
    attack("a space before the colon", HOST, "transfer-encoding : chunked", body=SMUGGLED, status=400),
    attack("chunked in HTTP/1.0", HOST, CHUNKED, body=END, line=f"POST {PATH} HTTP/1.0", status=426),
    attack("a size of a chunk that is none", HOST, CHUNKED, body=f"zz\r\nab\r\n{END}", status=400),
    attack("chunks ended by line feeds", HOST, CHUNKED, body="2\nab\n0\n\n", status=400),
    attack("a line feed in a chunk's extension", HOST, CHUNKED, body=f"2;\nx\r\nab\r\n{END}", status=400),
]
HEADERS = [
    attack("NUL in a header", HOST, "x-a: b\0c", status=400),
    attack("a space in a name", HOST, "x a: b", status=400),
    attack("no name", HOST, ": b", status=400),
    attack("a header of 40 kB", HOST, f"x-a: {'a' * 40_000}", status=431),
    attack("101 headers", HOST, *(f"x-{number}: a" for number in range(101)), status=431),
    attack("a path of 40 kB", HOST, line=f"GET {PATH}?q={'a' * 40_000} HTTP/1.1", status=431),
    attack("no Host", line=f"GET {PATH} HTTP/1.1", status=400),
    attack("two Hosts", "host: a", "host: b", line=f"GET {PATH} HTTP/1.1", status=400),
    attack("a user in Host", "host: admin@internal:8083", line=f"GET {PATH} HTTP/1.1", status=400),
    attack("a path in Host", "host: a/b", line=f"GET {PATH} HTTP/1.1", status=400),
    attack("a token that is said to end here", HOST, "connection: authorization", status=401),
]
LINES = [
    attack("absolute form, to the inside", HOST, line="GET http://127.0.0.1:8083/healthz HTTP/1.1", status=404),
    attack("absolute form, as if encrypted", HOST, line=f"GET https://x{PATH} HTTP/1.1", status=403),
    attack("absolute form of a file", HOST, line="GET file:///etc/passwd HTTP/1.1", status=400),
    attack("a tunnel", HOST, line="CONNECT 127.0.0.1:8083 HTTP/1.1", status=403),
    attack("a tunnel to a path", HOST, line=f"CONNECT {PATH} HTTP/1.1", status=400),
    attack("TRACE", HOST, line=f"TRACE {PATH} HTTP/1.1", status=405),
    attack("a method of nobody", HOST, line=f"TRACK {PATH} HTTP/1.1", status=400),
    attack("all of the server", HOST, line="OPTIONS * HTTP/1.1", status=404),
    attack("a path without a slash", HOST, line="GET api/v1/requirements HTTP/1.1", status=400),
    attack("a fragment", HOST, line=f"GET {PATH}#/../search HTTP/1.1", status=400),
    attack("HTTP/0.9", line="GET /docs", status=426),
    attack("HTTP/1.2", HOST, line=f"GET {PATH} HTTP/1.2", status=426),
    attack("a web socket", HOST, "upgrade: websocket", "connection: upgrade", line="GET /docs HTTP/1.1", status=403),
    Attack(
        "absolute form, to another host", f"GET http://internal{PATH} HTTP/1.1", (HOST,), "", 200,
        ("requirements", "GET", PATH),
    ),
]  # fmt: skip
PATHS = [
    *(path(each, 404) for each in ("/", "/healthz", "/readyz", "/metrics", "/internal", "/admin", "/stats")),
    *(path(each, 404) for each in ("/config_dump", "/quitquitquit", "/server_info", "/docs/", "/API/v1/search")),
    *(
        path(f"{PATH}{each}", 400)
        for each in ("/..%2f..%2f..%2fhealthz", "%2fx", "/..%5c..%5cx", "/%00", "%00", "/é")
    ),
    *(
        path(f"{PATH}{each}/healthz", 404)
        for each in ("/../../..", "/%2e%2e/%2E%2E/..", "/..\\..\\..", "//../../..//")
    ),
    *(path(f"/docs/assets/{each}", 404) for each in ("../../healthz", "%2e%2e/%2e%2e/readyz", "..\\..\\metrics")),
    *(path(each, 404) for each in ("//healthz", "/./healthz", "/../healthz", "/v1/../healthz", "/..//healthz")),
    *(path(f"{PATH}{each}", 404) for each in ("x", ";x=y", ";/search", ";/../../../healthz", "%3b/search")),
    # What is left of these once they are tidied up is what they reach: never what stood there before.
    path(f"{PATH}/../search", 200, "search /api/v1/search"),
    path(f"{PATH}/.%2e/search", 200, "search /api/v1/search"),
    path(f"{PATH}/..;/search", 200, "search /api/v1/search"),
    path("//api///v1//search", 200, "search /api/v1/search"),
    path("/%61pi/v1/search", 200, "search /api/v1/search"),
    path(f"{PATH}/%252e%252e/search", 200, f"requirements {PATH}/%252e%252e/search"),
    path(f"{PATH}?q=/../../healthz", 200, f"requirements {PATH}"),
]
TABLE = [*FRAMING, *HEADERS, *LINES, *PATHS]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outcomes(edge: Edge) -> dict[str, tuple[Answer, list[Any]]]:
    """Of each attack the answer, and what services saw of its subject. All at once: Envoy lingers as it closes."""

    async def tried(attack: Attack) -> Answer:
        raw = edge.request(attack.line, *attack.fields, body=attack.body, subject=attack.what)
        return Answer.of(await edge.send(raw))

    answers = await asyncio.gather(*map(tried, TABLE))
    seen: dict[str, list[Any]] = {each.what: [] for each in TABLE}
    for each in edge.seen:
        token = each["headers"]["authorization"].removeprefix("Bearer ")
        subject = jwt.decode(token, options={"verify_signature": False})["sub"]
        seen[subject].append((each["service"], each["method"], each["path"]))
    return {each.what: (answer, seen[each.what]) for each, answer in zip(TABLE, answers, strict=True)}


@pytest.mark.parametrize("attack", TABLE, ids=[each.what[:60] for each in TABLE])
def test_an_attack_is_answered_and_goes_no_further(
    outcomes: dict[str, tuple[Answer, list[Any]]], attack: Attack
) -> None:
    answer, seen = outcomes[attack.what]
    assert (answer.status, answer.rest) == (attack.status, b""), answer
    assert seen == ([attack.reaches] if attack.reaches else [])
    assert SECURE.keys() <= answer.headers.keys()
    if answer.status >= 400:
        assert SECURE.items() <= answer.headers.items()
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == attack.status


async def test_a_detour_opens_nothing_without_a_token(edge: Edge) -> None:
    edge.seen.clear()
    detours = [each for each in PATHS if each.reaches]
    answers = await asyncio.gather(*(edge.ask(each.line, token=False) for each in detours))
    assert [each.status for each in answers] == [401] * len(detours)
    assert edge.seen == []


@pytest.mark.parametrize(
    ("fields", "received"),
    [
        (("x-a: b\r\n c",), {"x-a": "b c"}),
        (("x-a: b\rx-admin: true",), {"x-a": "bx-admin: true"}),
        (("x_forwarded_for: 1.2.3.4",), {}),
    ],
    ids=["folded lines are one", "a carriage return ends no line", "underscores are no dashes"],
)
async def test_a_header_stays_one_header(edge: Edge, fields: tuple[str, ...], received: dict[str, str]) -> None:
    usual = await headers_received(edge)
    assert await headers_received(edge, *fields) == usual | received


async def headers_received(edge: Edge, *fields: str) -> dict[str, str]:
    edge.seen.clear()
    assert (await edge.ask(f"GET {PATH} HTTP/1.1", *fields, address="127.0.0.1")).status == 200
    (seen,) = edge.seen
    changing = ("authorization", "x-request-id", "traceparent", "tracestate")
    return {name: value for name, value in seen["headers"].items() if name not in changing}


async def test_who_calls_is_told_by_the_token_and_the_connection_alone(edge: Edge) -> None:
    spoofed = (
        "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-forwarded-host: evil.example",
        "x-forwarded-port: 1", "x-forwarded-prefix: /healthz", "x-forwarded-user: root", "x-forwarded-email: root",
        "forwarded: for=10.0.0.1", "x-real-ip: 10.0.0.1", "x-client-ip: 10.0.0.1", "true-client-ip: 10.0.0.1",
        "x-original-url: /healthz", "x-rewrite-url: /healthz", "x-envoy-original-path: /healthz",
        "x-envoy-external-address: 10.0.0.1", "x-http-method-override: DELETE", "x-method-override: DELETE",
        "x-http-method: DELETE", "x-user: root", "x-user-roles: admin", "x-auth-request-user: root",
        "x-remote-user: root", "remote-user: root", "x-jwt-payload: e30", "proxy: http://evil.example",
        "x-plumbline-trace-id: 1", "x-plumbline-fault-abort-status: 500",
    )  # fmt: skip
    usual = await headers_received(edge)
    assert usual == {"host": "x", "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}
    assert await headers_received(edge, *spoofed) == usual
    assert edge.seen[0]["method"] == "GET"


async def test_a_token_for_another_audience_is_as_good_as_none(edge: Edge) -> None:
    token = edge.issuer.token("admin", aud="another")
    answer = await edge.ask(f"GET {PATH} HTTP/1.1", f"authorization: Bearer {token}", token=False)
    assert (answer.status, json.loads(answer.body)["type"]) == (401, "urn:plumbline:problem:unauthenticated")


async def test_who_is_slow_is_cut_off(edge: Edge) -> None:
    whole = edge.request(f"POST {PATH} HTTP/1.1", "host: x", "content-length: 100", body="half of it")
    edge.seen.clear()
    for received in await asyncio.gather(
        edge.send(b"GET /api"), edge.send(f"GET {PATH} HTTP/1.1\r\nhost: x\r\n".encode()), edge.send(whole)
    ):
        answer = Answer.of(received)
        assert (answer.status, json.loads(answer.body)["status"]) == (408, 408)
    assert edge.seen == []


async def test_one_subject_can_not_use_what_is_there_for_all(edge: Edge) -> None:
    line = f"GET {PATH} HTTP/1.1"
    answers = await asyncio.gather(*(edge.ask(line, subject="greedy") for _ in range(40)))
    assert {each.status for each in answers} == {200, 429}
    assert sum(each.status == 200 for each in answers) >= 20
    refused = next(each for each in answers if each.status == 429)
    assert refused.headers["retry-after"] == "1"
    assert SECURE.items() <= refused.headers.items()
    assert (await edge.ask(line, subject="modest")).status == 200
    # A collector sends for many.
    assert (await edge.ask("POST /v1/metrics HTTP/1.1", "content-length: 0", subject="greedy")).status == 200


async def test_one_address_can_not_use_what_is_there_for_all(edge: Edge) -> None:
    line = f"GET {PATH} HTTP/1.1"
    answers = await asyncio.gather(*(edge.ask(line, address="127.9.0.1", token=False) for _ in range(60)))
    assert {each.status for each in answers} == {401, 429}
    assert sum(each.status == 401 for each in answers) >= 30
    assert (await edge.ask(line, address="127.9.0.2", token=False)).status == 401


async def test_a_page_of_another_origin_can_not_read(edge: Edge) -> None:
    others = ("http://evil.example", "https://console.example.evil", "https://consoleXexample", "null", "https://x")
    asked = ("access-control-request-method: DELETE", "access-control-request-headers: authorization")
    preflights = (edge.ask(f"OPTIONS {PATH} HTTP/1.1", f"origin: {each}", *asked, token=False) for each in others)
    reads = (edge.ask(f"GET {PATH} HTTP/1.1", f"origin: {each}", subject="of a page") for each in others)
    for answer in await asyncio.gather(*preflights, *reads):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    allowed = await edge.ask(f"GET {PATH} HTTP/1.1", "origin: https://console.example", subject="console")
    assert allowed.headers["access-control-allow-origin"] == "https://console.example"
    assert "access-control-allow-credentials" not in allowed.headers


async def test_the_page_of_the_documents_may_load_its_own(edge: Edge) -> None:
    page = await edge.ask("GET /docs HTTP/1.1", token=False)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_its_administration_is_a_file_of_its_own_user(edge: Edge) -> None:
    socket = edge.folder / "gateway" / "admin.sock"
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert len(re.findall(r"socket_address", (edge.folder / "gateway" / "envoy.yaml").read_text())) == 7
