from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, text

from plumbline_analysis.models import Anomaly, Detection, Signal
from plumbline_common import db

ANOMALIES = "/api/v1/anomalies"
SLICE = timedelta(seconds=10)
PEAKS = (1.1, 1.12, 1.08, 1.1, 2.6)
"""Of the departures that the history holds, ten minutes from each other."""


@pytest.fixture
async def world(world: Any, app: Any) -> Any:
    """With the history of an error ratio: two hours of calm with five departures, each of three slices."""
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(3)
    since = world.start - timedelta(hours=2)
    async with world.sessions.begin() as session:
        signal = (await session.scalars(select(Signal).where(Signal.kind == "indicator"))).one()
        await session.execute(
            text("UPDATE detectors SET watching_since = :since, evaluated_to = :until"),
            {"since": since, "until": world.start},
        )
        await session.execute(text("DELETE FROM detections"))
        departures = {60 * number + place: peak for number, peak in enumerate(PEAKS, 1) for place in range(3)}
        rows = [
            {"signal": signal.number, "ts": since + (place + 1) * SLICE, "expected": 0.01, "lower": 0, "upper": 0.02}
            | {"value": 0.4 if place in departures else 0.01, "score": departures.get(place, 0.1)}
            for place in range(720)
        ]
        await session.execute(insert(Detection), rows)
        for number, peak in enumerate(PEAKS, 1):
            onset = since + (60 * number + 1) * SLICE
            session.add(anomaly(signal, onset, peak))
    world.signal_id = signal.id
    return world


def anomaly(signal: Signal, onset: datetime, peak: float) -> Anomaly:
    return Anomaly(
        id=db.new_id(), signal_id=signal.id, metric=signal.metric, aggregation="error_ratio", unit="1",
        service="shop", attributes={}, requirement_id=signal.requirement_id, requirement_revision=1,
        state="resolved", severity="info", direction="up", onset=onset, end=onset + 2 * SLICE, peak_at=onset,
        peak_score=peak, value=0.4, expected=0.01, lower=0, upper=0.02, title="Errors rose", revision=2,
    )  # fmt: skip


@pytest.fixture
def path(world: Any) -> str:
    return f"/api/v1/signals/{world.signal_id}/detector"


@pytest.fixture
def operator(caller: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = caller("operator")
    return client


@pytest.fixture
async def labels(world: Any, operator: httpx.AsyncClient) -> dict[str, str]:
    """What people say: the small departures were none, the large one was one. By the anomaly's id."""
    given = {}
    for found in (await operator.get(ANOMALIES, params={"sort": "onset"})).json()["items"]:
        label = "true_positive" if found["peak_score"] > 2 else "false_positive"
        given[found["id"]] = label
        path = f"{ANOMALIES}/{found['id']}/labels"
        assert (await operator.post(path, json={"label": label})).status_code == 201
    return given


async def applied(client: httpx.AsyncClient, path: str, bar: float, match: str | None = '"0"', **headers: str) -> Any:
    headers |= {"If-Match": match} if match else {}
    return await client.post(f"{path}/revisions", json={"bar": bar, "reason": "the backup"}, headers=headers)


async def test_a_detector_is_at_its_first_bar_until_somebody_sets_it(
    viewer: httpx.AsyncClient, world: Any, path: str, labels: dict[str, str]
) -> None:
    response = await viewer.get(path)
    found = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"0"')
    assert (found["revision"], found["bar"], found["slo"]) == (0, 1.0, "errors")
    assert (found["true_positives"], found["false_positives"]) == (1, 4)
    assert found["requirement_id"] == str(world.requirement_id)


async def test_the_labels_propose_a_bar_with_its_effect_on_history(
    viewer: httpx.AsyncClient, path: str, labels: dict[str, str]
) -> None:
    proposed = (await viewer.get(f"{path}/proposal")).json()
    effect = proposed["effect"]
    assert (proposed["revision"], proposed["bar"]) == (0, 1.28)
    assert effect["now"] == {"bar": 1.0, "alarms": 5, "a_week": pytest.approx(5 * 7 * 12)}
    assert effect["then"] == {"bar": 1.28, "alarms": 1, "a_week": pytest.approx(7 * 12)}
    assert {each["anomaly_id"]: each["label"] for each in effect["lost"] + effect["kept"]} == labels
    assert [each["label"] for each in effect["lost"]] == ["false_positive"] * 4
    assert [each["label"] for each in effect["kept"]] == ["true_positive"]


async def test_any_bar_can_be_tried(viewer: httpx.AsyncClient, path: str, labels: dict[str, str]) -> None:
    tried = (await viewer.get(f"{path}/proposal", params={"bar": 3})).json()
    assert (tried["bar"], tried["effect"]["then"]["alarms"], tried["effect"]["kept"]) == (3.0, 0, [])
    for wrong in ("0.4", "4.1", "nan"):
        assert (await viewer.get(f"{path}/proposal", params={"bar": wrong})).status_code == 422


async def test_without_labels_the_bar_stays(viewer: httpx.AsyncClient, path: str) -> None:
    proposed = (await viewer.get(f"{path}/proposal")).json()
    assert (proposed["bar"], proposed["effect"]["kept"]) == (1.0, [])
    assert proposed["effect"]["now"] == proposed["effect"]["then"]


async def test_a_bar_is_applied_as_a_revision_with_its_effect(
    operator: httpx.AsyncClient, world: Any, path: str, labels: dict[str, str]
) -> None:
    proposed = (await operator.get(f"{path}/proposal")).json()
    response = await applied(operator, path, proposed["bar"])
    first = response.json()
    assert (response.status_code, response.headers["etag"]) == (201, '"1"')
    assert (first["revision"], first["bar"], first["reason"]) == (1, 1.28, "the backup")
    assert first["effect"] == proposed["effect"]
    assert ((await operator.get(path)).json()["bar"], first["applied_by"]) == (1.28, "alice")
    again = (await operator.get(f"{path}/proposal")).json()
    assert (again["revision"], again["bar"], again["effect"]["now"]["alarms"]) == (1, 1.28, 1)
    second = (await applied(operator, path, 1.5, '"1"')).json()
    listed = (await operator.get(f"{path}/revisions")).json()
    assert listed == {"items": [second, first], "total": 2}
    assert (await operator.get(f"{path}/revisions", params={"skip": 1})).json()["items"] == [first]


async def test_the_revision_that_was_read_must_be_the_newest(operator: httpx.AsyncClient, path: str) -> None:
    assert (await applied(operator, path, 1.5, None)).status_code == 428
    assert (await applied(operator, path, 1.5)).status_code == 201
    stale = await applied(operator, path, 1.6)
    assert (stale.status_code, stale.headers["etag"]) == (412, '"1"')
    assert (await operator.get(f"{path}/revisions")).json()["total"] == 1


async def test_a_revision_that_is_sent_twice_is_made_once(operator: httpx.AsyncClient, path: str) -> None:
    first, again = [await applied(operator, path, 1.5, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert (again.status_code, again.json()) == (201, first.json())
    assert (await operator.get(f"{path}/revisions")).json()["total"] == 1


async def test_only_operators_set_a_bar(caller: Any, operator: httpx.AsyncClient, path: str) -> None:
    for role in ("viewer", "editor", "reviewer", "ingest"):
        assert (await applied(caller(role), path, 1.5)).status_code == 403
    wrong = await operator.post(f"{path}/revisions", json={"bar": 9, "reason": " "}, headers={"If-Match": "*"})
    assert (wrong.status_code, {each["pointer"] for each in wrong.json()["errors"]}) == (422, {"/bar", "/reason"})


async def test_what_no_detector_watches_has_none(viewer: httpx.AsyncClient, world: Any, path: str) -> None:
    signals = (await viewer.get("/api/v1/signals")).json()["items"]
    raw = next(each["id"] for each in signals if each["kind"] != "indicator")
    for place in (f"/api/v1/signals/{raw}/detector", "/api/v1/signals/0190a8a0-0000-7000-8000-00000000ffff/detector"):
        for route in ("", "/proposal", "/revisions"):
            assert (await viewer.get(place + route)).status_code == 404


async def test_a_detector_of_what_the_slo_does_not_measure_any_more_is_outdated(
    viewer: httpx.AsyncClient, world: Any, path: str
) -> None:
    await world.keep(world.requirement(world.latency_slo(name="errors"), revision=2, updated_at=world.now))
    response = await viewer.get(f"{path}/proposal")
    assert (response.status_code, response.json()["type"]) == (409, "urn:plumbline:problem:detector-outdated")
