"""Pulls from a real Prometheus, of its own metrics."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from plumbline_analysis.points.directory import Directory
from plumbline_analysis.puller import Puller
from plumbline_analysis.pulls import service
from plumbline_analysis.pulls.asking import Asker
from plumbline_analysis.pulls.failures import PullFailed, Reason
from plumbline_analysis.pulls.rules import Range
from plumbline_analysis.pulls.schemas import PrometheusSource
from plumbline_analysis.settings import Settings
from plumbline_common import db
from plumbline_common.auth import UserInfo

PROGRAM = os.environ.get("PLUMBLINE_PROMETHEUS") or shutil.which("prometheus")
OPERATOR = UserInfo("olga", frozenset({"operator"}), frozenset())
CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: prometheus, static_configs: [{targets: ["127.0.0.1:%d"]}]}
  - {job_name: away, static_configs: [{targets: ["127.0.0.1:1"]}]}
"""

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="needs Prometheus: on the PATH (Debian's package prometheus), or in PLUMBLINE_PROMETHEUS"
)


@pytest.fixture(scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Where it is, once it has scraped itself twice."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text(CONFIG % port)
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url) as client, asyncio.timeout(30):
            while not await _has_scraped(client):
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _has_scraped(client: httpx.AsyncClient) -> bool:
    scraped = 'count_over_time(prometheus_http_requests_total{handler="/metrics"}[1m]) >= 1'
    asked = {"query": f"{scraped} and on() count(up) == 2"}
    try:
        answer = await client.get("/api/v1/query", params=asked)
        return bool(answer.is_success and answer.json()["data"]["result"])
    except httpx.TransportError:
        return False


def source(url: str, **spec: object) -> PrometheusSource:
    queries = [
        {"name": "prometheus.http.requests", "query": "prometheus_http_requests_total", "kind": "counter"},
        {"name": "memory", "query": "process_resident_memory_bytes", "unit": "By"},
    ]
    given = {"url": url, "queries": queries, "step_seconds": 1, "delay_seconds": 0} | spec
    content = {"name": "eu", "kind": "prometheus", "spec": given, "backfill_seconds": 120}
    return PrometheusSource.model_validate(content)


async def test_its_own_metrics_and_what_is_up_are_pulled(
    prometheus: str, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings
) -> None:
    asker = Asker(settings.model_copy(update={"pull_allowed": ("127.0.0.1",)}))
    async with sessions.begin() as session:
        made = await service.create(session, source(prometheus), OPERATOR, asker.targets)
    puller = Puller(sessions, read_sessions, settings, Directory(), asker)
    running = asyncio.create_task(puller.run())
    try:
        async with asyncio.timeout(10):
            while (shown := await _shown(read_sessions, made.id)).status.state != "healthy":
                assert shown.status.last_error is None
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with read_sessions() as session:
        rows = await session.execute(
            text(
                "SELECT metric, service, kind, attributes, max(value) AS value, count(*) AS points FROM signals"
                " JOIN number_points ON signal = number GROUP BY 1, 2, 3, 4"
            )
        )
        found = {(row.metric, row.service, row.attributes.get("handler")): row for row in rows}
    assert found["up", "prometheus", None].value == 1
    assert found["up", "away", None].value == 0
    assert found["memory", "prometheus", None].value > 1e6
    requests = found["prometheus.http.requests", "prometheus", "/metrics"]
    assert (requests.kind, requests.attributes["service.instance.id"]) == ("sum", prometheus.removeprefix("http://"))
    assert requests.attributes["__name__"] == "prometheus_http_requests_total"
    assert shown.status.points == sum(row.points for row in found.values())


async def _shown(sessions: db.Sessions, id: object) -> service.SourceResponse:
    async with sessions() as session:
        return await service.one(session, id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(", "query: .*parse error"),
        ("up + on(nothing) group_left prometheus_http_requests_total", "query: .*many-to-many|query: .*duplicate"),
    ],
)
async def test_a_refusal_is_told_in_its_words(prometheus: str, settings: Settings, query: str, said: str) -> None:
    asker = Asker(settings.model_copy(update={"pull_allowed": ("127.0.0.1",)}))
    spec = source(prometheus, queries=[{"name": "bad", "query": query}]).spec
    now = int(time.time())
    async with contextlib.aclosing(asker.client(spec, "eu")) as client:
        with pytest.raises(PullFailed, match=said) as failed:
            await client.take(spec.queries, Range(now - 60, now))
    assert failed.value.reason is Reason.QUERY


async def test_the_longest_range_is_one_that_it_answers(prometheus: str, settings: Settings) -> None:
    asker = Asker(settings.model_copy(update={"pull_allowed": ("127.0.0.1",)}))
    spec = source(prometheus).spec
    now = int(time.time())
    async with contextlib.aclosing(asker.client(spec, "eu")) as client:
        steps = client.steps(1)
        assert (await client.take([spec.queries[1]], Range(now - steps, now))).series == 1
        with pytest.raises(PullFailed, match="exceeded maximum resolution"):
            await client.take([spec.queries[1]], Range(now - steps - 3, now))
