from typing import Any

import httpx
import pytest


async def test_the_present_bar_raises_on_history_what_was_raised(app: Any, caller: Any, world: Any) -> None:
    operator: httpx.AsyncClient = caller("operator")
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70)
    await world.live(4, seconds=0.6)
    await world.live(30)
    await world.live(3, seconds=0.1)
    await world.live(30)
    await world.live(3, seconds=0.9)
    raised = await world.anomalies()
    assert len(raised) >= 2
    for anomaly in raised:
        given = await operator.post(f"/api/v1/anomalies/{anomaly.id}/labels", json={"label": "true_positive"})
        assert given.status_code == 201
    tried = await operator.get(f"/api/v1/signals/{raised[0].signal_id}/detector/proposal", params={"bar": 1})
    effect = tried.json()["effect"]
    assert effect["now"] == effect["then"]
    assert effect["now"]["alarms"] == len(raised)
    assert [each["anomaly_id"] for each in effect["kept"]] == [str(anomaly.id) for anomaly in raised]
    assert effect["lost"] == []


@pytest.mark.parametrize(("bar", "raised"), [(1.0, 1), (4.0, 0)])
async def test_the_next_evaluation_alarms_by_the_bar_that_was_set(
    app: Any, caller: Any, world: Any, bar: float, raised: int
) -> None:
    operator: httpx.AsyncClient = caller("operator")
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(70)
    signals = (await operator.get("/api/v1/signals")).json()["items"]
    detector = next(f"/api/v1/signals/{each['id']}/detector" for each in signals if each["kind"] == "indicator")
    change = {"bar": bar, "reason": "as it should be"}
    applied = await operator.post(f"{detector}/revisions", json=change, headers={"If-Match": '"0"'})
    assert applied.status_code == 201
    await world.live(4, seconds=0.08)
    assert len(await world.anomalies()) == raised
