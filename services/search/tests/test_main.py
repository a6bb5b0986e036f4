"""The running service: what the bus says is found over HTTP."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from plumbline_common import bus, db
from plumbline_common.events import (
    AnomalyDetected,
    Event,
    RequirementCreated,
    RequirementDeleted,
    RequirementUpdated,
)
from plumbline_common.schemas import AnomalySnapshot, RequirementSnapshot

NewRequirement = Callable[..., RequirementSnapshot]
NewAnomaly = Callable[..., AnomalySnapshot]
Publish = Callable[[Event], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def publish(nats_server: Any) -> AsyncIterator[Publish]:
    """Says an event as its producer does, on the next position of its log."""
    brokers: dict[str, bus.Broker] = {}
    positions = {"requirements": itertools.count(1), "analysis": itertools.count(1)}

    async def publish(event: Event) -> None:
        producer = event.subject.partition(".")[0]
        if producer not in brokers:
            brokers[producer] = bus.Broker(nats_server.url(producer), "test")
            await brokers[producer].connect()
            await brokers[producer].ensure_streams([producer])
        row = SimpleNamespace(
            id=db.new_id(),
            subject=event.subject,
            key=event.key,
            created_at=datetime.now(UTC),
            position=next(positions[producer]),
        )
        await brokers[producer].js.publish(
            f"plumbline.{event.subject}",
            event.model_dump_json().encode(),
            headers=bus.headers_of(row, producer, {}, {}),
        )

    yield publish
    for broker in brokers.values():
        await broker.close()


async def search(client: httpx.AsyncClient, query: str, **filters: Any) -> list[dict[str, Any]]:
    response = await client.post("/api/v1/search", json={"query": query, **filters})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def eventually(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await found():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_service_that_runs_is_healthy_and_ready(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200, response.text


async def test_what_is_created_changed_and_deleted_is_found_as_it_is(
    client: httpx.AsyncClient, publish: Publish, requirement: NewRequirement
) -> None:
    async def title(expected: str | None) -> bool:
        items = await search(client, "how fast is paying", kinds=["requirement"])
        return [item["title"] for item in items] == ([expected] if expected else [])

    await publish(RequirementCreated(requirement=requirement(revision=1)))
    await eventually(lambda: title("Checkout answers fast"))
    changed = requirement(revision=2, title="Checkout answers at once")
    await publish(RequirementUpdated(requirement=changed, changed=["title"]))
    await eventually(lambda: title("Checkout answers at once"))
    await publish(RequirementDeleted(requirement_id=UUID(int=1), revision=2, actor="alice"))
    await eventually(lambda: title(None))


async def test_an_anomaly_is_found_in_other_words(
    client: httpx.AsyncClient, publish: Publish, anomaly: NewAnomaly
) -> None:
    await publish(AnomalyDetected(anomaly=anomaly(id=UUID(int=77))))

    async def found() -> bool:
        items = await search(client, "requests take too long", kinds=["anomaly"])
        return [item["entity_id"] for item in items] == [str(UUID(int=77))]

    await eventually(found)


async def test_hundreds_of_events_at_once_are_all_indexed(
    client: httpx.AsyncClient, publish: Publish, requirement: NewRequirement
) -> None:
    await asyncio.gather(
        *(
            publish(
                RequirementCreated(
                    requirement=requirement(
                        id=UUID(int=1000 + number),
                        title=f"Requirement {number}",
                        statement="",
                        description="",
                        rationale="",
                        service="crowd",
                    )
                )
            )
            for number in range(100)
        )
    )

    async def all_found() -> bool:
        response = await client.post(
            "/api/v1/search", json={"query": "requirement", "service": "crowd", "limit": 100}
        )
        return bool(response.json()["total"] == 100)

    await eventually(all_found)


async def test_what_was_indexed_is_announced_on_the_bus(
    client: httpx.AsyncClient, publish: Publish, requirement: NewRequirement, nats_server: Any
) -> None:
    listener = bus.Broker(nats_server.admin_url, "listener")
    await listener.connect()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await listener.nc.subscribe("plumbline.search.document.indexed.v1", cb=heard.put)
    await listener.nc.flush()
    try:
        await publish(RequirementCreated(requirement=requirement(id=UUID(int=5), revision=1)))
        async with asyncio.timeout(15):
            while (message := await heard.get()).headers["ce-subject"] != f"requirement:{UUID(int=5)}":
                pass
        assert message.headers["ce-type"] == "plumbline.search.document.indexed.v1"
    finally:
        await listener.close()
