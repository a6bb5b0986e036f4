"""A real Prometheus server scrapes itself and writes to the service: `PLUMBLINE_PROMETHEUS`, or what PATH has."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from fastapi import FastAPI
from sqlalchemy import text

from plumbline_common import db

PROGRAM = os.environ.get("PLUMBLINE_PROMETHEUS") or shutil.which("prometheus")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="needs a Prometheus server: put it on PATH or name it in PLUMBLINE_PROMETHEUS"
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The address of the running service."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    try:
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def prometheus(served: str, issuer: Any, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A server that scrapes itself every half second and spreads what it writes over two shards."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        "remote_write": [
            {
                "url": f"{served}/api/v1/write",
                "authorization": {"credentials": issuer.token("ingest")},
                "queue_config": {"min_shards": 2, "batch_send_deadline": "200ms", "max_samples_per_send": 300},
                "metadata_config": {"send_interval": "1s"},
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "telemetry.md").read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(page.split("```yaml")[1].split("```")[0])
    command = (Path(str(PROGRAM)).with_name("promtool"), "check", "config", "--syntax-only", file)
    checked = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await checked.communicate()
    assert checked.returncode == 0, output


async def asked(prometheus: httpx.AsyncClient, query: str) -> list[Any]:
    try:
        reply = await prometheus.get("/api/v1/query", params={"query": query})
        return list(reply.json()["data"]["result"]) if reply.status_code == 200 else []
    except httpx.TransportError:
        return []


async def until(ready: Any) -> None:
    async with asyncio.timeout(30):
        while not await ready():
            await asyncio.sleep(0.1)


async def test_what_prometheus_has_is_stored(
    prometheus: httpx.AsyncClient, sessions: db.Sessions, viewer: httpx.AsyncClient
) -> None:
    name = "prometheus_http_response_size_bytes"

    async def stored(metric: str) -> dict[int, float]:
        async with sessions() as session:
            rows = await session.execute(
                text(
                    "SELECT (extract(epoch FROM ts) * 1000)::bigint AS ms, value FROM number_points JOIN signals"
                    ' ON signal = number WHERE metric = :metric AND attributes @> \'{"handler": "/metrics"}\''
                ),
                {"metric": metric},
            )
            return {row.ms: row.value for row in rows}

    async def enough() -> bool:
        return len(await stored(f"{name}_count")) >= 3

    await until(enough)
    (theirs,) = await asked(prometheus, f'{name}_count{{handler="/metrics"}}[1m]')
    written = {round(float(at) * 1000): float(value) for at, value in theirs["values"]}
    ours = await stored(f"{name}_count")
    assert ours.items() <= written.items()

    (signal, *_) = (await viewer.get("/api/v1/signals", params={"metric": f"{name}_sum"})).json()["items"]
    assert (signal["service"], signal["kind"], signal["unit"]) == ("prometheus", "sum", "By")
    assert signal["resource"]["service.instance.id"] == str(prometheus.base_url.netloc, "ascii")
    buckets = (await viewer.get("/api/v1/signals", params={"metric": name})).json()["items"]
    assert {each["kind"] for each in buckets} == {"bucket"}
    series = (await viewer.get(f"/api/v1/signals/{buckets[0]['id']}/series")).json()
    assert series["aggregation"] == "p95"

    (failed,) = await asked(prometheus, "sum(prometheus_remote_storage_samples_failed_total)")
    (retried,) = await asked(prometheus, "sum(prometheus_remote_storage_samples_retried_total)")
    assert (failed["value"][1], retried["value"][1]) == ("0", "0")
