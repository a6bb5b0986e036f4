import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

PATH = "/api/v1/deployments"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def pipeline(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("ingest")
    return client


async def recorded(client: httpx.AsyncClient, service: str = "checkout", **members: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={"service": service, "version": "1.4.2"} | members)
    assert response.status_code in (200, 201), response.text
    return dict(response.json())


async def told(app: Any) -> list[dict[str, Any]]:
    async with app.state.read_sessions() as session:
        rows = await session.execute(
            text("SELECT data FROM outbox WHERE subject = 'analysis.deployment.recorded.v1' ORDER BY seq")
        )
        return [json.loads(row.data)["deployment"] for row in rows]


async def test_a_deployment_is_recorded_read_and_told(
    app: Any, pipeline: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    content = {
        "service": "checkout",
        "version": "1.4.2",
        "environment": "production",
        "deployed_at": "2026-11-01T13:00:00+01:00",
        "url": "https://git.example.org/checkout/1.4.2",
        "description": "A new client",
        "external_id": "1208",
    }
    response = await pipeline.post(PATH, json=content)
    made = response.json()
    assert response.status_code == 201
    assert made | content | {"deployed_at": "2026-11-01T12:00:00Z"} == made
    assert (await viewer.get(response.headers["location"])).json() == made
    assert await told(app) == [made]


async def test_what_names_no_time_was_deployed_now(pipeline: httpx.AsyncClient) -> None:
    made = await recorded(pipeline)
    assert datetime.now(UTC) - datetime.fromisoformat(made["deployed_at"]) < timedelta(seconds=30)
    assert made["deployed_at"] == made["recorded_at"]


async def test_a_deployment_of_one_external_id_is_recorded_once(app: Any, pipeline: httpx.AsyncClient) -> None:
    first = await recorded(pipeline, external_id="1208", description="A new client")
    again = await pipeline.post(PATH, json={"service": "checkout", "version": "1.4.2", "external_id": "1208"})
    assert (again.status_code, again.json()) == (200, first)
    other = await pipeline.post(PATH, json={"service": "checkout", "version": "1.4.3", "external_id": "1208"})
    problem = other.json()
    assert (other.status_code, problem["type"]) == (409, "urn:plumbline:problem:recorded-otherwise")
    assert problem["errors"][0]["pointer"] == "/version"
    assert (await recorded(pipeline, service="cart", external_id="1208"))["id"] != first["id"]
    assert len(await told(app)) == 2


async def test_an_idempotency_key_replays_the_first_answer(app: Any, pipeline: httpx.AsyncClient) -> None:
    content, headers = {"service": "checkout", "version": "1.4.2"}, {"Idempotency-Key": "run-7"}
    first = await pipeline.post(PATH, json=content, headers=headers)
    again = await pipeline.post(PATH, json=content, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len(await told(app)) == 1


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"service": " "}, "/service"),
        ({"version": None}, "/version"),
        ({"deployed_at": "2026-11-01T12:00:00"}, "/deployed_at"),
        ({"deployed_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "/deployed_at"),
        ({"url": "javascript:alert(1)"}, "/url"),
        ({"service.name": "checkout"}, "/service.name"),
    ],
)
async def test_what_is_no_deployment_is_refused_with_its_member(
    pipeline: httpx.AsyncClient, members: dict[str, Any], pointer: str
) -> None:
    response = await pipeline.post(PATH, json={"service": "checkout", "version": "1"} | members)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_deployments_are_listed_latest_first_and_filtered(
    pipeline: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    for hours, service in ((3, "checkout"), (1, "cart"), (2, "checkout")):
        await recorded(pipeline, service, deployed_at=(NOON - timedelta(hours=hours)).isoformat())

    async def hours_ago(**asked: Any) -> tuple[list[int], int]:
        body = (await viewer.get(PATH, params=asked)).json()
        ages = [NOON - datetime.fromisoformat(each["deployed_at"]) for each in body["items"]]
        return [age // timedelta(hours=1) for age in ages], body["total"]

    assert await hours_ago() == ([1, 2, 3], 3)
    assert await hours_ago(skip=1, limit=1) == ([2], 3)
    assert await hours_ago(service="checkout") == ([2, 3], 2)
    two_hours_ago = (NOON - timedelta(hours=2)).isoformat()
    assert await hours_ago(since=two_hours_ago) == ([1, 2], 2)
    assert await hours_ago(until=two_hours_ago) == ([3], 1)


async def test_who_only_reads_records_nothing(viewer: httpx.AsyncClient) -> None:
    assert (await viewer.post(PATH, json={"service": "checkout", "version": "1"})).status_code == 403


async def test_a_deployment_that_is_not_there_is_not_found(viewer: httpx.AsyncClient) -> None:
    assert (await viewer.get(f"{PATH}/0190a8a0-0000-7000-8000-00000000ffff")).status_code == 404
