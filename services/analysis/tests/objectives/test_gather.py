"""What an evaluation takes in, on a clock that the test turns."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from plumbline_analysis.objectives import gather


async def test_late_and_repeated_telemetry_is_counted_once(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(15)
    held = []
    for _ in range(3):
        world.now += timedelta(seconds=world.step)
        held.append(world.export(0.02, 0.5, 40))
        await world.evaluator.round()
    for each in (*reversed(held), *held):
        await world.send(each)
    await world.live(5)
    evidence = (await world.current() or {})["objectives"][0]
    total = sum(int(row.sum()) for row in world.counts.values())
    bad = sum(int(row.sum()) for (_, status), row in world.counts.items() if status == "500")
    assert (evidence["total"], evidence["total"] - evidence["good"]) == (total, bad)


async def test_a_new_requirement_takes_in_history_without_raising_old_alarms(world: Any) -> None:
    await world.live(30, evaluate=False)
    await world.live(5, seconds=0.6, evaluate=False)
    await world.live(20, evaluate=False)
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(1)
    assert await world.anomalies() == []
    evidence = (await world.current() or {})["objectives"][0]
    assert evidence["total"] == 56
    assert evidence["good"] == 51
    await world.live(3, seconds=0.6)
    assert len(await world.anomalies()) == 1


async def test_history_is_taken_in_piece_by_piece(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_SLICES", 10)
    await world.live(25, evaluate=False)
    await world.keep(world.requirement(world.latency_slo()))
    rounds = 0
    while await world.evaluator.round():
        rounds += 1
        assert await world.current() is None
    assert rounds > 3
    assert (await world.current() or {})["objectives"][0]["total"] == 25


async def test_another_query_counts_anew_and_ends_the_old_anomaly(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(25)
    await world.live(3, seconds=0.6)
    changed = world.latency_slo()
    changed["indicator"]["thresholdMetric"]["metricSource"]["spec"]["aggregation"] = "p50"
    await world.keep(world.requirement(changed, revision=2, updated_at=world.now))
    await world.live(1)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    async with world.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM detectors"))).scalar_one() == 1


async def test_an_objective_that_is_gone_is_forgotten(world: Any) -> None:
    two = world.ratio_slo(objectives=[{"target": 0.9}, {"target": 0.99}])
    await world.keep(world.requirement(two, world.latency_slo()))
    await world.live(5)
    await world.keep(world.requirement(world.ratio_slo(), revision=2, updated_at=world.now))
    await world.live(2)
    async with world.sessions() as session:
        left = (await session.execute(text("SELECT slo, objective FROM objectives"))).all()
        slices = (await session.execute(text("SELECT count(DISTINCT objective) FROM objective_slices"))).scalar_one()
    assert ([tuple(row) for row in left], slices) == ([("errors", 0)], 1)
    assert [each["slo"] for each in (await world.current() or {})["objectives"]] == ["errors"]
