"""What-ifs from the request to the result, on points that are stored."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from plumbline_analysis.what_if.kind import WHAT_IF, gather
from plumbline_analysis.what_if.schemas import WhatIfParameters

WHAT_IFS = "/api/v1/what-if"


@pytest.fixture
def editor(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("editor")
    return client


async def done(world: Any, client: httpx.AsyncClient, **content: Any) -> dict[str, Any]:
    """The result of a what-if, run here."""
    asked = {"start": world.start.isoformat(), "end": world.now.isoformat()} | content
    response = await client.post(WHAT_IFS, json=asked)
    assert response.status_code == 202, response.text
    job = (await client.get(response.headers["location"])).json()
    async with world.read_sessions() as session:
        inputs = await gather(session, WhatIfParameters.model_validate(job["parameters"]), world.settings)
    return WHAT_IF.run(inputs, lambda share, message: None)


async def test_an_slo_says_what_it_would_have_said_in_force(world: Any, app: Any, editor: httpx.AsyncClient) -> None:
    """The same history, watched for real and held against the SLO afterwards."""
    slo = world.ratio_slo()
    await world.keep(world.requirement(slo))
    await world.live(20, evaluate=False)
    await world.live(8, errors=0.9)
    (evidence,) = (await world.current() or {})["objectives"]
    assert "burning" in " ".join(subject for subject, _ in await world.events())
    found = await done(world, editor, slo=slo)
    (objective,) = found["objectives"]
    assert objective["total"] == sum(int(row.sum()) for row in world.counts.values())
    assert 1 - objective["budget_burned"] == pytest.approx(evidence["budget_remaining"])
    assert (objective["pages"], objective["exhausted_at"] is not None) == (1, True)


async def test_what_nothing_here_measures_is_said(world: Any, app: Any, editor: httpx.AsyncClient) -> None:
    world.now += timedelta(seconds=60)
    found = await done(world, editor, slo=world.latency_slo())
    assert (found["signals"], found["objectives"][0]["missing"]) == (0, "no units in that time")
    elsewhere = world.latency_slo()
    elsewhere["indicator"]["thresholdMetric"]["metricSource"] = {"type": "datadog", "spec": {"query": "x"}}
    (objective,) = (await done(world, editor, slo=elsewhere))["objectives"]
    assert "datadog" in objective["missing"]


async def test_what_is_malformed_is_named(world: Any, app: Any, editor: httpx.AsyncClient) -> None:
    backwards = {"slo": world.latency_slo(), "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    response = await editor.post(WHAT_IFS, json=backwards)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/start")
    response = await editor.post(WHAT_IFS, json={"slo": world.latency_slo(objectives=[{"target": 2}])})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith("/slo/objectives/0")
