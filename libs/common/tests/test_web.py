from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import APIRouter, Depends, FastAPI
from pydantic import Field
from sqlalchemy import text

from plumbline_common import auth, errors, openapi, telemetry, web
from plumbline_common.schemas import Schema, Text

router = APIRouter(prefix="/things", dependencies=[Depends(auth.require("viewer"))])


class Thing(Schema):
    name: Annotated[Text, Field(max_length=10)]
    size: float = 0


class Taken(errors.Conflict):
    slug = "taken"
    title = "The name is taken"


@router.post("")
async def make(thing: Thing) -> Thing:
    if thing.name == "taken":
        raise Taken("another has it", pointer="/name", owner="bob")
    return thing


@router.get("/{id}")
async def read(id: UUID, session: web.ReadSession) -> dict[str, int]:
    return {"one": (await session.execute(text("SELECT 1"))).scalar_one()}


@router.get("/faults/{kind}")
async def fail(kind: str, session: web.Session) -> None:
    if kind == "slow":
        await session.execute(text("SET LOCAL statement_timeout = 10"))
        await session.execute(text("SELECT pg_sleep(5)"))
    raise RuntimeError("secret internals")


@pytest.fixture(scope="module")
async def app(settings: Any) -> AsyncIterator[FastAPI]:
    app = web.create_app("requirements", settings, routers=[router], body_limits={"/things": 1000})
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60):
        yield app


@pytest.fixture
async def client(app: Any, issuer: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://test",
        headers={"Authorization": f"Bearer {issuer.token('viewer')}"},
    ) as client:
        yield client


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:plumbline:problem:{slug}"
    assert body["status"] == status
    assert body["title"]
    return body


async def test_a_refusal_carries_its_slug_pointer_and_extras(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/things", json={"name": "taken"}), 409, "taken")
    assert body["errors"] == [{"detail": "another has it", "pointer": "/name"}]
    assert body["owner"] == "bob"


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b'{"name": 1}', "/name"),
        (b'{"name": "a", "colour": 1}', "/colour"),
        (b'{"name": "12345678901"}', "/name"),
        (b'{"name": "a\\u0000"}', "/name"),
        (b'{"name": "\\ud800"}', "/name"),
        (b'{"name": "a", "size": NaN}', "/size"),
        (b'{"name": "a", "size": 1e999}', "/size"),
        (b"[]", ""),
        (b"", ""),
    ],
)
async def test_malformed_bodies_name_the_member(client: httpx.AsyncClient, content: bytes, pointer: str) -> None:
    response = await client.post("/things", content=content, headers={"Content-Type": "application/json"})
    body = problem(response, response.status_code, "invalid-request")
    assert response.status_code in (400, 422)
    if response.status_code == 422:
        assert body["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(("content", "told"), [('{"name": 1}', "name"), ('{"name": "a", "colour": 1}', "other")])
async def test_a_name_that_a_caller_made_up_is_no_attribute_of_a_metric(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, content: str, told: str
) -> None:
    counted: list[Any] = []

    class Counter:
        def add(self, amount: int, attributes: Any) -> None:
            counted.append(attributes["plumbline.field"])

    monkeypatch.setattr(telemetry, "validation_errors", Counter())
    await client.post("/things", content=content, headers={"Content-Type": "application/json"})
    assert counted == [told]


async def test_a_field_that_there_is_not_is_told_to_be_so(client: httpx.AsyncClient) -> None:
    response = await client.post("/things", json={"name": "a", "colour": 1})
    (field,) = problem(response, 422, "invalid-request")["errors"]
    assert field == {"detail": "there is no such field here; its name may be misspelt", "pointer": "/colour"}


async def test_a_body_over_the_limit_is_refused_declared_or_not(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    headers = {"Content-Type": "application/json"}
    problem(await client.post("/things", content=b" " * 2000, headers=headers), 413, "body-too-large")
    problem(await client.post("/things", content=chunks(), headers=headers), 413, "body-too-large")


async def test_unknown_paths_methods_and_ids_are_problems(client: httpx.AsyncClient) -> None:
    problem(await client.get("/nothing"), 404, "not-found")
    response = await client.delete("/things")
    problem(response, 405, "method-not-allowed")
    assert "POST" in response.headers["allow"]
    body = problem(await client.get("/things/not-an-id"), 422, "invalid-request")
    assert body["errors"][0]["parameter"] == "id"


async def test_without_a_good_token_nothing_is_served(client: httpx.AsyncClient, issuer: Any) -> None:
    for header in ("", "Basic YTpi", "Bearer", "Bearer x.y.z"):
        response = await client.post("/things", json={"name": "a"}, headers={"Authorization": header})
        problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    token = issuer.token("ingest")
    response = await client.post("/things", json={"name": "a"}, headers={"Authorization": f"Bearer {token}"})
    problem(response, 403, "forbidden")


async def test_an_unforeseen_error_tells_no_internals(client: httpx.AsyncClient) -> None:
    response = await client.get("/things/faults/crash", headers={"X-Request-Id": "crash-1"})
    problem(response, 500, "internal-error")
    assert response.headers["x-request-id"] == "crash-1"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in response.text


async def test_a_database_that_is_too_slow_is_not_our_fault(client: httpx.AsyncClient) -> None:
    response = await client.get("/things/faults/slow")
    problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"


async def test_a_database_that_takes_no_connection_is_not_our_fault(settings: Any, issuer: Any) -> None:
    away = settings.model_copy(update={"database_url": "postgresql+asyncpg://common:common@127.0.0.1:1/plumbline"})
    app = web.create_app("requirements", away, routers=[router])
    headers = {"Authorization": f"Bearer {issuer.token('viewer')}"}
    async with (
        LifespanManager(app, startup_timeout=60, shutdown_timeout=60),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers) as client,
    ):
        response = await client.get(f"/things/{UUID(int=1)}")
        problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"
        assert (await client.get("/readyz")).json()["checks"]["database"] == "Unavailable"


async def test_the_request_id_is_kept_or_made(client: httpx.AsyncClient) -> None:
    kept = await client.get("/healthz", headers={"X-Request-Id": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    made = await client.get("/healthz", headers={"X-Request-Id": "a b\t"})
    assert len(made.headers["x-request-id"]) == 36


async def test_health_names_what_is_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    response = await client.get("/readyz")
    assert response.status_code == 503  # these tests make their tables without migrations
    checks = response.json()["checks"]
    assert checks["database"] == "ok"
    assert checks["migrations"] == "ProgrammingError"


async def test_the_documents_are_served_without_a_token_and_without_a_cdn(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://fastapi.tiangolo.com/img/favicon.png", "")
    assert (await client.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
    assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/things"]["post"]
    assert operation["security"] == [{"bearer": []}]
    assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert "422" not in operation["responses"]


def test_a_route_without_an_authorization_decision_stops_the_start(settings: Any) -> None:
    open_router = APIRouter()

    @open_router.get("/open")
    async def anyone() -> None: ...

    with pytest.raises(ValueError, match="without an authorization decision"):
        web.create_app("requirements", settings, routers=[open_router])


def test_the_first_sentence_on_an_operation_is_its_summary(settings: Any) -> None:
    router = APIRouter(dependencies=[Depends(auth.public)])

    @router.get("/both")
    async def both() -> None:
        """Version 1.0 and
        2.0. 400 means no.

        It ends here."""

    @router.get("/one")
    async def one() -> None:
        """One thing."""

    @router.get("/none")
    async def none() -> None: ...

    paths = web.create_app("requirements", settings, routers=[router]).openapi()["paths"]
    said = {path: (paths[path]["get"]["summary"], paths[path]["get"].get("description")) for path in paths}
    assert said["/both"] == ("Version 1.0 and 2.0", "400 means no.\n\nIt ends here.")
    assert said["/one"] == ("One thing", None)
    assert said["/none"] == ("None", None)


async def test_each_route_tells_its_roles(app: Any) -> None:
    found = openapi.routes(app)
    assert found[("POST", "/things")] == ("viewer",)
    assert found[("GET", "/readyz")] == ("public",)
