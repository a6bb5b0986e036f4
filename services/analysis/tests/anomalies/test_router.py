from datetime import timedelta
from typing import Any

import httpx
import pytest

from plumbline_common.schemas import utc


@pytest.fixture
async def faulty(app: Any, world: Any) -> Any:
    """A world in which the latency rose, fell and rose again."""
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(65)
    await world.live(4, seconds=0.6)
    await world.live(12)
    await world.live(4, seconds=0.9)
    return world


async def listed(viewer: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    reply = await viewer.get("/api/v1/anomalies", params=asked)
    assert reply.status_code == 200
    return dict(reply.json())


async def test_anomalies_are_listed_newest_first_and_filtered(viewer: httpx.AsyncClient, faulty: Any) -> None:
    every = await listed(viewer)
    assert every["total"] == 2
    assert [each["state"] for each in every["items"]] == ["open", "resolved"]
    oldest = await listed(viewer, sort="onset", limit=1)
    assert (oldest["total"], oldest["items"]) == (2, every["items"][1:])
    assert (await listed(viewer, skip=1))["items"] == every["items"][1:]
    assert (await listed(viewer, state="open"))["items"] == every["items"][:1]
    assert (await listed(viewer, service="shop"))["total"] == 2
    assert (await listed(viewer, service="mail"))["total"] == 0
    assert (await listed(viewer, requirement_id=str(faulty.requirement_id)))["total"] == 2
    assert (await listed(viewer, requirement_id="0190a8a0-0000-7000-8000-00000000ffff"))["total"] == 0


async def test_one_anomaly_tells_what_was_expected_and_what_came(viewer: httpx.AsyncClient, faulty: Any) -> None:
    (anomaly, _) = (await listed(viewer))["items"]
    assert (await viewer.get(f"/api/v1/anomalies/{anomaly['id']}")).json() == anomaly
    assert anomaly["lower"] <= anomaly["expected"] <= anomaly["upper"] < anomaly["value"]
    assert anomaly["title"].startswith("Latency (p95 of http.server.request.duration) of shop rose to ")
    assert anomaly["requirement_id"] == str(faulty.requirement_id)
    assert (anomaly["end"], anomaly["aggregation"], anomaly["unit"]) == (None, "p95", "s")


async def test_the_signal_of_an_anomaly_has_a_series_with_its_band(viewer: httpx.AsyncClient, faulty: Any) -> None:
    (anomaly, _) = (await listed(viewer))["items"]
    signal = (await viewer.get(f"/api/v1/signals/{anomaly['signal_id']}")).json()
    assert (signal["kind"], signal["requirement_id"]) == ("indicator", str(faulty.requirement_id))
    asked: dict[str, Any] = {"from": utc(faulty.start), "to": utc(faulty.now), "step": 2}
    series = (await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=asked)).json()
    points = series["points"]
    assert len(points) == 85
    assert points[0]["expected"] is None
    assert points[-1]["score"] >= 1
    assert points[-1]["value"] > points[-1]["upper"] > points[-1]["expected"]
    longer = (await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=asked | {"step": 20})).json()[
        "points"
    ]
    assert longer[0]["value"] == pytest.approx(sum(point["value"] for point in points[:10]) / 10)
    assert longer[-1]["score"] == max(point["score"] for point in points[-10:])


async def test_an_indicator_has_only_its_own_aggregation(viewer: httpx.AsyncClient, faulty: Any) -> None:
    (anomaly, _) = (await listed(viewer))["items"]
    place = f"/api/v1/signals/{anomaly['signal_id']}/series"
    asked: dict[str, Any] = {"from": utc(faulty.now - timedelta(minutes=1)), "to": utc(faulty.now), "step": 2}
    assert (await viewer.get(place, params=asked | {"aggregation": "p95"})).status_code == 200
    assert (await viewer.get(place, params=asked | {"aggregation": "p50"})).status_code == 422


async def test_an_unknown_anomaly_is_not_found(viewer: httpx.AsyncClient) -> None:
    reply = await viewer.get("/api/v1/anomalies/0190a8a0-0000-7000-8000-000000000000")
    assert reply.status_code == 404
    assert (await viewer.get("/api/v1/anomalies/not-an-id")).status_code == 422
    assert (await viewer.get("/api/v1/anomalies", params={"state": "loud"})).status_code == 422
