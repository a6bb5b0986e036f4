"""Backfills step by step, on points that are stored: what is added, and what stays."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from plumbline_analysis.backfills import kind
from plumbline_analysis.backfills.kind import BACKFILL
from plumbline_analysis.backfills.schemas import BackfillParameters
from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.incident_keeper import IncidentKeeper
from plumbline_analysis.jobs import repository as jobs

SIGNALS = "/api/v1/signals"


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
async def late(world: Any, app: Any) -> Any:
    """A world whose latency rose for eight seconds, a while before a requirement came into force that looks back for
    half a minute only."""
    world.settings = world.settings.model_copy(update={"backfill_seconds": 30.0})
    world.evaluator = Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    await world.live(70, evaluate=False)
    await world.live(4, seconds=0.6, evaluate=False)
    await world.live(40, evaluate=False)
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(5)
    return world


async def indicator(client: httpx.AsyncClient) -> str:
    listed = (await client.get(SIGNALS)).json()["items"]
    return str(next(each["id"] for each in listed if each["kind"] == "indicator"))


async def stored(world: Any) -> tuple[list[Any], Any]:
    """The judgements that are stored, and the detector as it stands."""
    async with world.read_sessions() as session:
        judged = (await session.execute(text("SELECT * FROM detections ORDER BY ts"))).all()
        detector = (await session.execute(text("SELECT evaluated_to, state, alarm FROM detectors"))).one()
        return list(judged), detector


async def step(world: Any, id: Any, checkpoint: bytes | None) -> tuple[bytes, dict[str, Any] | None]:
    """The next step of a job, as a worker does it; its checkpoint, and the result after the last."""
    async with world.sessions.begin() as session:
        job = await jobs.one(session, id)
        asked = BackfillParameters.model_validate(job.parameters)
        inputs = await BACKFILL.gather(session, asked, checkpoint, world.settings)
        done = BACKFILL.run(inputs, lambda share, message: None)
        await BACKFILL.store(session, job, done.found)
    return done.checkpoint, done.result


async def done(world: Any, client: httpx.AsyncClient, path: str, **content: Any) -> dict[str, Any]:
    """The result of a backfill, run here."""
    response = await client.post(path, json=content)
    assert response.status_code == 202, response.text
    checkpoint, result = None, None
    while result is None:
        checkpoint, result = await step(world, response.json()["id"], checkpoint)
    return result


async def test_history_is_scored_and_what_it_shows_is_marked_and_calls_nobody(
    late: Any, operator: httpx.AsyncClient
) -> None:
    before, detector = await stored(late)
    id = await indicator(operator)
    result = await done(late, operator, f"{SIGNALS}/{id}/backfills")
    (told,) = result["signals"]
    assert (told["signal_id"], told["skipped"], told["slices"], result["anomalies"]) == (id, None, 119, 1)
    assert told["scored"] == 119 - 60

    (anomaly,) = (await operator.get("/api/v1/anomalies", params={"backfilled": True})).json()["items"]
    assert (anomaly["state"], anomaly["signal_id"], anomaly["direction"]) == ("resolved", id, "up")
    assert anomaly["end"] is not None
    job = (await operator.get(f"/api/v1/jobs/{anomaly['backfill_job_id']}")).json()
    assert job["kind"] == "backfill"
    assert (await operator.get("/api/v1/anomalies", params={"backfilled": False})).json()["total"] == 0
    assert [subject for subject, _ in await late.events() if subject.startswith("anomaly.")] == ["anomaly.resolved"]

    keeper = IncidentKeeper(late.sessions, late.settings, late.evaluator.holder, late.evaluator.claim)
    label = await operator.post(f"/api/v1/anomalies/{anomaly['id']}/labels", json={"label": "true_positive"})
    assert label.status_code == 201
    await keeper.round()
    assert (await operator.get("/api/v1/incidents")).json()["total"] == 0

    after, unmoved = await stored(late)
    assert unmoved == detector
    assert {row.ts: row.value for row in before}.items() <= {row.ts: row.value for row in after}.items()
    watches = (await operator.get(f"{SIGNALS}/{id}/detector")).json()
    assert watches["backfilled_from"] == told["start"]
    tried = (await operator.get(f"{SIGNALS}/{id}/detector/proposal")).json()["effect"]
    assert (tried["start"], tried["now"]["alarms"]) == (told["start"], 1)


async def test_doing_it_again_adds_nothing(late: Any, operator: httpx.AsyncClient) -> None:
    path = f"{SIGNALS}/{await indicator(operator)}/backfills"
    await done(late, operator, path)
    first, _ = await stored(late)
    again = await done(late, operator, path)
    assert (again["scored"], again["anomalies"]) == (0, 0)
    assert (await stored(late))[0] == first
    assert len(await late.anomalies()) == 1


async def test_steps_of_any_length_come_to_the_same(
    late: Any, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{SIGNALS}/{await indicator(operator)}/backfills"
    monkeypatch.setattr(kind, "_most", lambda matched: 7)
    steps = await done(late, operator, path)
    (anomaly,) = await late.anomalies()
    scores, _ = await stored(late)
    async with late.sessions.begin() as session:
        await session.execute(text("DELETE FROM anomalies"))
        await session.execute(text("DELETE FROM detections"))
    monkeypatch.undo()
    whole = await done(late, operator, path)
    for result in (steps, whole):
        result["signals"][0].pop("scored")
        result.pop("scored")
    assert steps == whole
    (same,) = await late.anomalies()
    assert (same.onset, same.end, same.peak_score) == (anomaly.onset, anomaly.end, anomaly.peak_score)
    # Those that the evaluation had scored already stay; there the engine had learned from less.
    assert [(row.ts, row.value) for row in (await stored(late))[0]] == [(row.ts, row.value) for row in scores]


async def test_what_was_raised_when_it_happened_is_not_raised_again(
    world: Any, app: Any, operator: httpx.AsyncClient
) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    await world.live(4, seconds=0.6)
    await world.live(5, evaluate=False)
    await world.live(1)
    assert len(await world.anomalies()) == 1
    result = await done(world, operator, f"{SIGNALS}/{await indicator(operator)}/backfills")
    assert result["anomalies"] == 0
    assert [each.backfill_job_id for each in await world.anomalies()] == [None]


async def test_telemetry_that_came_after_its_time_is_judged_then(
    world: Any, app: Any, operator: httpx.AsyncClient
) -> None:
    """The evaluation had passed by when the points of an outage of the sender arrived."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    kept = []
    for _ in range(4):
        world.now += timedelta(seconds=world.step)
        kept.append(world.export(0.6, 0.0, 40))
    await world.live(9, evaluate=False)
    await world.live(1)
    assert await world.anomalies() == []
    for telemetry in kept:
        await world.send(telemetry)
    result = await done(world, operator, f"{SIGNALS}/{await indicator(operator)}/backfills")
    (anomaly,) = await world.anomalies()
    assert (result["anomalies"], anomaly.backfill_job_id is not None) == (1, True)


async def test_a_range_is_judged_by_what_came_before_it(late: Any, operator: httpx.AsyncClient) -> None:
    id = await indicator(operator)
    start = late.start + timedelta(seconds=130)
    result = await done(late, operator, f"{SIGNALS}/{id}/backfills", start=start.isoformat())
    (told,) = result["signals"]
    assert (told["start"], told["slices"], told["anomalies"]) == (start.isoformat().replace("+00:00", "Z"), 54, 1)


async def test_all_signals_of_a_service_are_one_job_and_what_is_gone_meanwhile_is_said(
    world: Any, app: Any, operator: httpx.AsyncClient
) -> None:
    await world.keep(world.requirement(world.latency_slo(), world.ratio_slo()))
    await world.live(70, evaluate=False)
    await world.live(1)
    asked = await operator.post("/api/v1/services/backfills", json={"service": "shop"})
    assert (asked.status_code, asked.json()["service"], asked.json()["signal_id"]) == (202, "shop", None)
    await world.keep(world.requirement(world.latency_slo(), revision=2))
    await world.live(1)
    checkpoint, result = None, None
    while result is None:
        checkpoint, result = await step(world, asked.json()["id"], checkpoint)
    latency, ratio = result["signals"]
    assert (latency["skipped"], latency["slices"]) == (None, 72)
    assert "no detector watches" in ratio["skipped"]


async def test_who_may_ask_and_for_what(late: Any, caller: Any, operator: httpx.AsyncClient) -> None:
    id = await indicator(operator)
    assert (await caller("editor").post(f"{SIGNALS}/{id}/backfills", json={})).status_code == 403
    raw = next(each for each in (await operator.get(SIGNALS)).json()["items"] if each["kind"] != "indicator")
    assert (await operator.post(f"{SIGNALS}/{raw['id']}/backfills", json={})).status_code == 404
    assert (await operator.post("/api/v1/services/backfills", json={"service": "nobody"})).status_code == 404
    for content, pointer in (
        ({"start": "2020-01-01T00:00:00Z"}, "/start"),
        ({"start": late.now.isoformat(), "end": late.start.isoformat()}, "/end"),
    ):
        response = await operator.post(f"{SIGNALS}/{id}/backfills", json=content)
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)
