"""Backtests from the request to the result, on points that are stored."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from plumbline_analysis.backtests.kind import BACKTEST, gather
from plumbline_analysis.backtests.schemas import BacktestParameters
from plumbline_common.errors import NotFound

SIGNALS = "/api/v1/signals"
METRIC = "http.server.request.duration"
DETECTOR = {"name": "as it is", "bar": 1.0, "direction": "up", "min_relative": 0.3}


@pytest.fixture
async def risen(world: Any, app: Any) -> Any:
    """A world whose latency rose for eight seconds."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    await world.live(4, seconds=0.6)
    await world.live(4, evaluate=False)
    await world.live(1)
    return world


@pytest.fixture
def editor(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("editor")
    return client


async def signal(client: httpx.AsyncClient, metric: str | None = None) -> dict[str, Any]:
    """The indicator, or the requests of the metric that one worker has answered well."""
    listed = (await client.get(SIGNALS, params={"metric": metric} if metric else {})).json()["items"]
    if metric is None:
        return dict(next(each for each in listed if each["kind"] == "indicator"))
    return dict(next(each for each in listed if each["attributes"].get("status") == "200"))


async def done(world: Any, client: httpx.AsyncClient, id: str, **content: Any) -> dict[str, Any]:
    """The result of a backtest, run here."""
    asked = {"detectors": [DETECTOR], "start": world.start.isoformat(), "end": world.now.isoformat()} | content
    response = await client.post(f"{SIGNALS}/{id}/backtests", json=asked)
    assert response.status_code == 202, response.text
    job = (await client.get(response.headers["location"])).json()
    assert (job["kind"], job["signal_id"]) == ("backtest", id)
    parameters = BacktestParameters.model_validate(job["parameters"])
    async with world.read_sessions() as session:
        inputs = await gather(session, parameters, world.settings)
    return BACKTEST.run(inputs, lambda share, message: None)


async def test_an_indicator_is_tried_against_people_s_labels(risen: Any, editor: httpx.AsyncClient) -> None:
    (anomaly,) = await risen.anomalies()
    await editor.post(f"/api/v1/anomalies/{anomaly.id}/labels", json={"label": "true_positive"})
    found = await done(risen, editor, (await signal(editor))["id"])
    assert (found["labels"], found["points"], found["step_seconds"]) == ("feedback", 69, 2.0)
    (tried,) = found["detectors"]
    assert [each["label"] for each in tried["alarms"]] == ["true_positive"]
    assert (tried["quality"]["recall"], tried["quality"]["missed"]) == (1.0, 0)


async def test_a_signal_as_it_came_is_tried_against_windows_that_are_sent(
    world: Any, app: Any, editor: httpx.AsyncClient
) -> None:
    await world.live(70, evaluate=False)
    rose = world.now + timedelta(seconds=world.step)
    await world.live(4, seconds=0.6, evaluate=False)
    await world.live(6, evaluate=False)
    windows = [{"start": rose.isoformat(), "end": (rose + timedelta(seconds=8)).isoformat()}]
    raw = await signal(editor, METRIC)
    found = await done(world, editor, raw["id"], windows=windows, aggregation="p95", step_seconds=2)
    assert found["points"] == 80
    (tried,) = found["detectors"]
    assert (tried["quality"]["recall"], tried["quality"]["precision"]) == (1.0, 1.0)


async def test_a_signal_that_is_gone_meanwhile_is_the_reason_of_the_failure(
    world: Any, app: Any, editor: httpx.AsyncClient
) -> None:
    await world.live(1, evaluate=False)
    id = (await signal(editor, METRIC))["id"]
    response = await editor.post(f"{SIGNALS}/{id}/backtests", json={"detectors": [DETECTOR]})
    async with world.sessions.begin() as session:
        await session.execute(text("DELETE FROM signals"))
    job = (await editor.get(response.headers["location"])).json()
    with pytest.raises(NotFound, match=f"no signal has the id {id}"):
        async with world.read_sessions() as session:
            await gather(session, BacktestParameters.model_validate(job["parameters"]), world.settings)


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"detectors": []}, "/detectors"),
        ({"detectors": [DETECTOR] * 9}, "/detectors"),
        ({"detectors": [{"bar": 0.1}]}, "/detectors/0/bar"),
        ({"detectors": [DETECTOR], "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "/start"),
        ({"detectors": [DETECTOR], "start": "2026-01-01T00:00:00Z", "end": "2026-06-01T00:00:00Z"}, "/start"),
        (
            {
                "detectors": [DETECTOR],
                "points": [{"time": "2026-01-01T00:00:00Z", "value": 1}],
                "end": "2026-06-01T00:00:00Z",
            },
            "/points",
        ),
        (
            {
                "detectors": [DETECTOR],
                "windows": [{"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}],
            },
            "/windows/0",
        ),
    ],
)
async def test_what_is_malformed_is_named(
    world: Any, app: Any, editor: httpx.AsyncClient, content: dict[str, Any], pointer: str
) -> None:
    await world.live(1, evaluate=False)
    response = await editor.post(f"{SIGNALS}/{(await signal(editor, METRIC))['id']}/backtests", json=content)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_only_editors_and_operators_ask_and_only_of_signals_that_there_are(
    caller: Any, app: Any, editor: httpx.AsyncClient
) -> None:
    path, content = f"{SIGNALS}/0190a8a0-0000-7000-8000-00000000ffff/backtests", {"detectors": [DETECTOR]}
    assert (await caller("viewer").post(path, json=content)).status_code == 403
    assert (await editor.post(path, json=content)).status_code == 404
