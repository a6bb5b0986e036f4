"""What a stranger's subscriber sees, and what is left when the whole stream is deleted."""

import asyncio
import itertools
from typing import Any

import httpx
import nats
import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import NotFoundError

PATH = "/api/v1/requirements"
GROUP = 25
"""Requirements of one service name: few enough for one page of a search."""


async def test_a_subscriber_needs_the_asyncapi_document_and_nats_alone(
    caller: Any, stranger: Any, until: Any
) -> None:
    client: httpx.AsyncClient = caller("editor")
    made = await client.post(PATH, json={"title": "Strangers are told"})
    id, one = made.json()["id"], made.headers["location"]
    await client.patch(one, json={"title": "Strangers are told all"}, headers={"If-Match": '"1"'})
    await client.patch(one, json={"status": "in_review"}, headers={"If-Match": '"2"'})

    async def indexed() -> bool:
        return bool(stranger.told("search.document.indexed.v1", f"requirement:{id}"))

    await until(indexed, 15, "indexed")
    assert (await client.delete(one, headers={"If-Match": '"3"'})).status_code == 204
    kinds = ("created", "updated", "transitioned", "deleted")

    def told() -> list[Any]:
        return [each for kind in kinds for each in stranger.told(f"requirements.requirement.{kind}.v1", id)]

    async def all_told() -> bool:
        return len(told()) == len(kinds)

    await until(all_told, 15, "created, updated, transitioned and deleted")
    assert stranger.misfits() == []
    assert [each.body.get("requirement", {}).get("title") for each in told()] == [
        "Strangers are told",
        "Strangers are told all",
        "Strangers are told all",
        None,
    ]
    positions = [int(each.headers["ce-sequence"]) for each in told()]
    assert positions == sorted(set(positions))
    assert [each.headers["ce-type"] for each in told()] == [f"plumbline.{each.channel}" for each in told()]
    # The first hop and the origin are one trace, which is the caller's.
    for header in ("traceparent", "ce-traceparent"):
        assert told()[0].headers[header].split("-")[1] == made.headers["x-trace-id"]


@pytest.mark.parametrize("subject", ["plumbline.requirements.requirement.created.v1", "plumbline.analysis.x.y.v1"])
async def test_a_service_cannot_speak_for_another(stack: Any, until: Any, subject: str) -> None:
    refused: list[Exception] = []

    async def failed(error: Exception) -> None:
        refused.append(error)

    async def told() -> bool:
        return any("permissions violation" in str(error).lower() for error in refused)

    connection = await nats.connect(stack.nats_url("search"), inbox_prefix=b"_INBOX_search", error_cb=failed)
    await connection.publish(subject, b"{}")
    await until(told, 5, "NATS refuses to take it")
    await connection.close()


class Writers:
    """Callers who create, change and delete requirements until they are told to stop."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._numbers = itertools.count()
        self.stopping = asyncio.Event()
        self.services: set[str] = set()
        self.written = 0

    async def run(self) -> None:
        while not self.stopping.is_set():
            number = next(self._numbers)
            service = f"lossy-{number // GROUP}"
            self.services.add(service)
            body = {"title": f"Kept through a loss {number}", "service": service}
            response = await self._client.post(PATH, json=body)
            assert response.status_code == 201, response.text
            one, match = response.headers["location"], {"If-Match": response.headers["etag"]}
            if number % 5 == 1:
                response = await self._client.patch(one, json={"priority": "must"}, headers=match)
                assert response.status_code == 200, response.text
            if number % 5 == 2:
                response = await self._client.delete(one, headers=match)
                assert response.status_code == 204, response.text
            self.written += 1
            await asyncio.sleep(0.1)

    async def wrote(self, more: int, until: Any) -> None:
        target = self.written + more

        async def enough() -> bool:
            return self.written >= target

        await until(enough, 20, f"{more} more requirements are written")

    async def kept(self) -> dict[str, int]:
        """The revisions by id, as the requirements service has them."""
        pages = [await self._client.get(PATH, params={"service": name, "limit": 100}) for name in self.services]
        return {item["id"]: item["revision"] for page in pages for item in page.json()["items"]}

    async def searchable(self) -> dict[str, int]:
        """The same, as the search has them."""
        queries = [{"query": "kept through a loss", "service": name, "limit": 100} for name in self.services]
        pages = [await self._client.post("/api/v1/search", json=query) for query in queries]
        return {item["entity_id"]: item["revision"] for page in pages for item in page.json()["items"]}


async def deleted(admin: Any, until: Any) -> None:
    """Delete the stream, once it is there."""

    async def gone() -> bool:
        try:
            return bool(await admin.jetstream().delete_stream("REQUIREMENTS"))
        except NotFoundError:
            return False

    await until(gone, 20, "there is a stream to delete")


@pytest.mark.chaos
async def test_deleting_the_stream_while_writes_go_on_loses_nothing(caller: Any, stack: Any, until: Any) -> None:
    writers = Writers(caller("editor"))
    admin = await nats.connect(stack.nats_url("admin"))
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(writers.run())
        for _ in range(2):
            await writers.wrote(15, until)
            await deleted(admin, until)
        await writers.wrote(15, until)
        writers.stopping.set()
    kept = await writers.kept()
    assert len(kept) > 30
    assert set(kept.values()) == {1, 2}

    async def converged() -> bool:
        return await writers.searchable() == kept

    await until(converged, 60, "the search holds exactly what was written")
    assert set(kept) <= await in_the_stream(admin)
    await admin.close()


async def in_the_stream(admin: Any) -> set[str]:
    """The ids of the requirements that a subscriber finds who comes only now. No event may be missing."""
    subscription = await admin.jetstream().subscribe("plumbline.requirements.>", ordered_consumer=True)
    ids, positions = set(), set()
    while True:
        try:
            message = await subscription.next_msg(timeout=2)
        except NatsTimeout:
            break
        ids.add(message.headers["ce-subject"])
        positions.add(int(message.headers["ce-sequence"]))
    await subscription.unsubscribe()
    assert positions == set(range(1, max(positions) + 1))
    return ids
