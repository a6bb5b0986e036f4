"""What a stranger's subscriber sees, and what is left when the whole stream is deleted."""

import asyncio
import json
from typing import Any

import httpx
import nats
from jsonschema import Draft202012Validator

PATH = "/api/v1/requirements"


async def test_a_subscriber_needs_the_asyncapi_document_and_nats_alone(caller: Any, stack: Any) -> None:
    document = (await caller(token="").get("/asyncapi.json")).json()
    channel = document["channels"]["requirements.requirement.created.v1"]
    message = document["components"]["messages"]["RequirementCreated"]
    heard: asyncio.Queue[Any] = asyncio.Queue()
    connection = await nats.connect(stack.nats_url("subscriber"))
    await connection.subscribe(channel["address"], cb=heard.put)
    await connection.flush()
    created = (await caller("editor").post(PATH, json={"title": "Strangers are told"})).json()
    event = await asyncio.wait_for(heard.get(), 10)
    while event.headers["ce-subject"] != created["id"]:
        event = await asyncio.wait_for(heard.get(), 10)
    await connection.close()
    schema = {**message["payload"], "components": document["components"]}
    Draft202012Validator(schema).validate(json.loads(event.data))
    headers = document["components"]["schemas"]["CloudEventHeaders"]
    Draft202012Validator(headers).validate(dict(event.headers))
    assert event.headers["ce-type"] == event.subject


async def test_deleting_the_stream_under_load_loses_nothing(caller: Any, stack: Any, until: Any) -> None:
    client: httpx.AsyncClient = caller("editor")
    written: list[str] = []

    async def write(number: int) -> None:
        response = await client.post(PATH, json={"title": f"Kept through a loss {number}", "service": "lossy"})
        written.append(response.json()["id"])

    admin = await nats.connect(stack.nats_url("admin"))
    for number in range(60):
        await write(number)
        if number in (20, 40):
            await admin.jetstream().delete_stream("REQUIREMENTS")
    await admin.close()

    async def indexed() -> set[str]:
        found: set[str] = set()
        for skip in (0, 50, 100):
            query = {"query": "kept through a loss", "service": "lossy", "skip": skip, "limit": 50}
            page = (await client.post("/api/v1/search", json=query)).json()
            found |= {item["entity_id"] for item in page["items"]}
        return found

    async def complete() -> bool:
        return set(written) <= await indexed()

    await until(complete, 60, "everything that was written is found")
