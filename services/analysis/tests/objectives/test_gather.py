"""What an evaluation takes in, on a clock that the test turns."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from plumbline_analysis import evaluator, moments
from plumbline_analysis.objectives import gather
from plumbline_analysis.points import arrivals, reading, resolution, service


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


async def test_what_is_pulled_comes_late_and_is_watched_all_the_same(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    under_way = []
    for number in range(45):
        world.now += timedelta(seconds=world.step)
        under_way.append(world.export(0.6 if 30 <= number < 33 else 0.02, 0.0, 40))
        await world.evaluator.round()
        if len(under_way) > 5:
            await world.send(under_way.pop(0))
    (anomaly,) = await world.anomalies()
    assert anomaly.onset == world.start + timedelta(seconds=31 * world.step)
    assert anomaly.end is not None


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


async def looked_back(world: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many slices that were judged before the next round judges again."""
    found: list[int] = []
    plan = gather._plan

    def note(*args: Any) -> Any:
        made = plan(*args)
        done = min(gather.micros(row.evaluated_to) for row in made.continued)
        found.extend((done - grid.start) // grid.step for grid in made.grids)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(gather, "_plan", note)
        await world.evaluator.round()
    return max(found)


async def test_only_slices_that_late_points_came_for_are_judged_again(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(10)
    world.now += timedelta(seconds=world.step)
    assert await looked_back(world, monkeypatch) == 0
    held = world.export(0.02, 0.5, 40)
    world.now += 2 * timedelta(seconds=world.step)
    await world.evaluator.round()
    await world.send(held)
    world.now += timedelta(seconds=world.step)
    assert await looked_back(world, monkeypatch) == 3
    assert await looked_back(world, monkeypatch) == 0
    assert (await world.current() or {})["objectives"][0]["total"] == sum(
        int(row.sum()) for row in world.counts.values()
    )


async def test_points_of_other_signals_have_nothing_judged_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slo = world.ratio_slo()
    for name in ("bad", "total"):
        slo["indicator"]["ratioMetric"][name]["metricSource"]["spec"]["attributes"]["service.name"] = "bank"
    await world.keep(world.requirement(slo))
    await world.live(5)
    held = world.export(0.02, 0.5, 40)
    world.now += 2 * timedelta(seconds=world.step)
    await world.evaluator.round()
    await world.send(held)
    assert await looked_back(world, monkeypatch) == 0


async def test_who_takes_over_judges_the_last_slices_again(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(10)
    await world.evaluator.release()
    world.evaluator = evaluator.Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    assert await looked_back(world, monkeypatch) == world.settings.lateness_seconds / world.step
    assert await looked_back(world, monkeypatch) == 0


async def test_what_an_open_transaction_held_back_is_counted(world: Any) -> None:
    """Its points were timely when it stored them, and come in sight after their slices were judged."""
    await world.keep(world.requirement(world.ratio_slo()))
    world.directory.timely = timedelta(seconds=1)
    world.now = moments.now()
    await world.send(world.export(0.02, 0.5, 40))
    before = sum(int(row.sum()) for row in world.counts.values())
    world.now += timedelta(seconds=world.step)
    await world.evaluator.round()
    async with world.sessions.begin() as session:
        world.now = moments.now()
        held = resolution.resolve(world.export(0.02, 0.5, 40), world.directory)
        await service.store(session, held, world.directory)
        assert await arrivals.notes(session) == []
        world.now += timedelta(seconds=3 * world.step)
        await world.evaluator.round()
    world.now += timedelta(seconds=world.step)
    await world.evaluator.round()
    total = sum(int(row.sum()) for row in world.counts.values()) - before
    assert (await world.current() or {})["objectives"][0]["total"] == total


async def test_what_is_too_much_at_once_is_judged_in_parts(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.live(40, evaluate=False)
    await world.keep(world.requirement(world.ratio_slo()))
    monkeypatch.setattr(gather, "MAX_SLICES", 64)
    monkeypatch.setattr(reading, "MAX_HISTOGRAMS", 100)
    while await world.evaluator.round():
        assert await world.current() is None
    assert (await world.current() or {})["objectives"][0]["total"] == sum(
        int(row.sum()) for row in world.counts.values()
    )
