"""Against a server process that answers as it should, and in every way as it should not."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from asgi_lifespan import LifespanManager
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import embedding_server
import indexed
from plumbline_search.embedding import endpoint
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.endpoint import EndpointFailed, EndpointRefused, EndpointResting, EndpointSettings
from plumbline_search.main import create_app
from plumbline_search.settings import Settings

DIMENSIONS = 256


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    command = [sys.executable, embedding_server.__file__, str(DIMENSIONS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


def settings(server: str, mode: str, **changes: Any) -> EndpointSettings:
    return EndpointSettings.model_validate(
        {"url": f"{server}/{mode}/v1", "model": "test-model", "dimensions": DIMENSIONS, "timeout_seconds": 0.5}
        | changes
    )


async def asked(server: str, mode: str) -> int:
    async with httpx.AsyncClient() as client:
        return int((await client.get(f"{server}/{mode}/v1/count")).text)


async def encoded(server: str, mode: str, *texts: str, **changes: Any) -> endpoint.Vectors:
    async with endpoint.connected(settings(server, mode, **changes)) as connection:
        return await connection.encode(list(texts))


async def test_vectors_come_in_the_order_of_the_texts_and_of_length_1(server: str) -> None:
    vectors = await encoded(server, "ok", "one", "two", "three")
    assert vectors.shape == (3, DIMENSIONS)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    (two,) = await encoded(server, "ok", "two")
    assert vectors[1] == pytest.approx(two)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("wrong", "3 dimensions, and 256 are configured"),
        ("nan", "not finite"),
        ("zero", "of length 0"),
        ("words", "no lists of numbers"),
        ("text", "no lists of numbers"),
        ("few", "1 embeddings for 2 texts"),
        ("twice", "embeddings for 2 texts"),
        ("nothing", "no answer"),
        ("empty", "did not answer with data"),
        ("html", "did not answer with data"),
        ("deep", "did not answer with data"),
        ("down", "status 503"),
        ("slow", "no answer within 0.5 seconds"),
        ("trickle", "no answer within 0.5 seconds"),
        ("moved", "status 307"),
        ("key", "status 401"),
    ],
)
async def test_an_answer_that_is_none_is_refused_with_the_reason(server: str, mode: str, reason: str) -> None:
    with pytest.raises(EndpointFailed, match=reason):
        await encoded(server, mode, "one", "two", attempts=2)


async def test_nobody_listening_is_a_failure(server: str) -> None:
    with pytest.raises(EndpointFailed, match="no answer: ConnectError"):
        await encoded("http://127.0.0.1:9", "ok", "one", attempts=1)


async def test_what_passes_is_tried_again(server: str) -> None:
    assert (await encoded(server, "flaky", "one")).shape == (1, DIMENSIONS)
    assert await asked(server, "flaky") == 3


async def test_what_will_not_pass_is_not_tried_again(server: str) -> None:
    before = await asked(server, "wrong")
    with pytest.raises(EndpointFailed):
        await encoded(server, "wrong", "one")
    assert await asked(server, "wrong") == before + 1


async def test_of_several_texts_only_the_one_that_is_refused_fails(server: str) -> None:
    async with (
        endpoint.connected(settings(server, "picky")) as connection,
        Embedder(connection.encode, dimensions=DIMENSIONS, batch=8) as embedder,
    ):
        texts = ["good", "poison", "good too"]
        outcomes = await asyncio.gather(*(embedder.embed([text]) for text in texts), return_exceptions=True)
        assert [isinstance(outcome, EndpointRefused) for outcome in outcomes] == [False, True, False]
        # That a text is refused says nothing about the endpoint.
        for _ in range(2 * endpoint.FAILURES):
            with pytest.raises(EndpointRefused):
                await connection.encode(["poison"])


async def test_an_endpoint_that_fails_again_and_again_rests_and_comes_back(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "REST_SECONDS", 0.5)
    async with endpoint.connected(settings(server, "down", attempts=1)) as connection:
        for _ in range(endpoint.FAILURES):
            with pytest.raises(EndpointFailed, match="503"):
                await connection.encode(["one"])
        before = await asked(server, "down")
        with pytest.raises(EndpointResting, match="try again in 1 seconds"):
            await connection.encode(["one"])
        assert await asked(server, "down") == before
        await asyncio.sleep(0.6)
        with pytest.raises(EndpointFailed, match="503"):
            await connection.encode(["one"])
        with pytest.raises(EndpointResting):
            await connection.encode(["one"])
        await asyncio.sleep(0.6)
        connection._client.base_url = httpx.URL(f"{server}/ok/v1/")
        assert (await connection.encode(["one"])).shape == (1, DIMENSIONS)
        assert (await connection.encode(["two"])).shape == (1, DIMENSIONS)


async def test_the_key_comes_from_a_file(server: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    assert (await encoded(server, "key", "one", api_key_file=key)).shape == (1, DIMENSIONS)


def test_a_size_that_no_index_is_for_is_refused(server: str) -> None:
    with pytest.raises(ValidationError, match="must be one of 256, 384"):
        settings(server, "ok", dimensions=300)


def test_it_is_configured_by_the_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name, value in (("URL", "https://models.example.org/v1"), ("MODEL", "big"), ("DIMENSIONS", "1024")):
        monkeypatch.setenv(f"PLUMBLINE_SEARCH_EMBEDDING_ENDPOINT__{name}", value)
    found = Settings(**settings.model_dump(exclude={"embedding_endpoint"})).embedding_endpoint
    assert found is not None
    assert found.name == "big:1024"


class TestTheServiceWithAnEndpoint:
    @pytest.fixture
    async def empty(self, owner: AsyncEngine) -> None:
        async with owner.begin() as connection:
            for table in ("search_documents CASCADE", "search_fresh", "search_runs", "search_postings"):
                await connection.execute(text(f"TRUNCATE {table}"))
            await indexed.begin_with_one(connection)

    @contextlib.asynccontextmanager
    async def _running(self, settings: Settings, issuer: Any, **changes: Any) -> Any:
        app = create_app(settings.model_copy(update=changes))
        async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60):
            await indexed.seen(app)
            headers = {"Authorization": f"Bearer {issuer.token('admin')}"}
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://search", headers=headers) as client:
                yield client

    async def _status(self, client: httpx.AsyncClient) -> Any:
        return (await client.get("/api/v1/reindex")).json()

    async def test_a_model_is_switched_while_all_is_found_by_both_legs(
        self, empty: None, server: str, settings: Settings, issuer: Any
    ) -> None:
        async with self._running(settings, issuer) as client:
            for number in range(20):
                body = {"title": f"Disk {number} is full", "body": "Delete old logs."}
                assert (await client.put(f"/api/v1/documents/runbook/{number}", json=body)).status_code == 201
            assert (await self._status(client))["live"]["model"].startswith("all-minilm")
        async with self._running(settings, issuer, embedding_endpoint=_endpoint(server, "ok")) as client:
            async with asyncio.timeout(60):
                while (status := await self._status(client))["building"]:
                    await self._all_found(client)
                    await asyncio.sleep(0.02)
            assert status["live"]["model"] == "test-model:256"
            await self._all_found(client)
            # The same vectors as the server has: the document's own words are nearest.
            body = {"title": "", "body": "Something else entirely"}
            assert (await client.put("/api/v1/documents/runbook/else", json=body)).status_code == 201
            found = await client.post("/api/v1/search", json={"query": body["body"], "legs": ["vector"], "limit": 1})
            assert found.json()["items"][0]["external_id"] == "else"
            assert found.json()["items"][0]["legs"]["vector"]["score"] > 0.999

    async def _all_found(self, client: httpx.AsyncClient) -> None:
        for legs in (None, ["lexical"], ["vector"]):
            request = {"query": "disk full", "limit": 100, **({"legs": legs} if legs else {})}
            found = (await client.post("/api/v1/search", json=request)).json()
            assert (len(found["items"]), found["left_out"]) == (20, []), found

    async def test_an_endpoint_that_fails_loses_nothing(
        self, empty: None, server: str, settings: Settings, issuer: Any, engine: AsyncEngine
    ) -> None:
        async with self._running(settings, issuer, embedding_endpoint=_endpoint(server, "ok")) as client:
            async with asyncio.timeout(60):
                while (await self._status(client))["building"]:
                    await asyncio.sleep(0.05)
            good = {"title": "Disk is full", "body": "Delete old logs."}
            assert (await client.put("/api/v1/documents/runbook/1", json=good)).status_code == 201
        async with self._running(settings, issuer, embedding_endpoint=_endpoint(server, "wrong")) as client:
            refused = await client.put("/api/v1/documents/runbook/2", json=good | {"title": "Another"})
            assert refused.status_code == 503
            assert refused.json()["type"] == "urn:plumbline:problem:embedding-failed"
            assert "256 are configured" in refused.json()["detail"]
            found = (await client.post("/api/v1/search", json={"query": "disk"})).json()
            assert [hit["external_id"] for hit in found["items"]] == ["1"]
            assert found["left_out"][0]["leg"] == "vector"
            alone = await client.post("/api/v1/search", json={"query": "disk", "legs": ["vector"]})
            assert alone.status_code == 503
        async with self._running(settings, issuer, embedding_endpoint=_endpoint(server, "picky")) as client:
            lines = b'{"kind": "runbook", "external_id": "a", "content": {"title": "good"}}\n'
            lines += b'{"kind": "runbook", "external_id": "b", "content": {"title": "poison"}}\n'
            lines += b'{"kind": "runbook", "external_id": "c", "content": {"title": "good too"}}\n'
            headers = {"Content-Type": "application/x-ndjson"}
            answer = await client.post("/api/v1/documents/lines", content=lines, headers=headers)
            *results, sums = [httpx.Response(200, content=line).json() for line in answer.text.splitlines()]
            assert [result["status"] for result in results] == [201, 503, 201]
            assert results[1]["problem"]["type"] == "urn:plumbline:problem:embedding-refused"
            assert (sums["created"], sums["failed"]) == (2, 1)


def _endpoint(server: str, mode: str) -> EndpointSettings:
    return settings(server, mode, attempts=1)
