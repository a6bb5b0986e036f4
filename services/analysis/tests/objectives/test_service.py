"""The evaluation as a whole, on a clock that the test turns: telemetry in, verdicts, anomalies and events out."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text


async def test_a_latency_fault_becomes_an_anomaly_and_a_verdict_and_both_recover(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(1)
    await world.live(64)
    assert await world.verdicts() == ["NO_DATA", "MET"]
    assert await world.anomalies() == []

    await world.live(8, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert (anomaly.state, anomaly.direction, anomaly.severity) == ("open", "up", "critical")
    assert anomaly.onset == world.start + timedelta(seconds=66 * world.step)
    assert anomaly.value > 0.4
    assert anomaly.lower <= anomaly.expected <= anomaly.upper < 0.2
    assert anomaly.title.startswith("Latency (p95 of http.server.request.duration) of shop rose to ")
    assert (anomaly.requirement_id, anomaly.requirement_revision) == (world.requirement_id, 1)
    assert (await world.verdicts())[2] in ("AT_RISK", "VIOLATED")
    current = await world.current()
    assert current is not None
    assert current["anomalies"] == [str(anomaly.id)]

    await world.live(75)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    assert (
        world.start + timedelta(seconds=73 * world.step)
        <= anomaly.end
        <= world.start + timedelta(seconds=75 * world.step)
    )
    assert (await world.verdicts())[-1] == "MET"
    subjects = [subject for subject, _ in await world.events()]
    assert subjects[0] == "verdict.changed"
    for told in ("anomaly.detected", "anomaly.resolved", "objective.recovered"):
        assert subjects.count(told) == 1
    assert {"objective.burning", "objective.exhausted"} & set(subjects)


async def test_errors_burn_the_budget_and_exhaust_it(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(55)
    await world.live(4, errors=0.95)
    states = await world.verdicts()
    assert states == ["MET", "AT_RISK"]
    await world.live(6, errors=0.95)
    assert (await world.verdicts())[-1] == "VIOLATED"
    evidence = (await world.current() or {})["objectives"][0]
    assert evidence["budget_remaining"] <= 0
    assert evidence["good"] < 0.9 * evidence["total"]
    told = [(subject, data) for subject, data in await world.events() if subject.startswith("objective.")]
    # Told when it is at risk, and again when somebody has to act at once.
    assert [subject for subject, _ in told] == ["objective.burning", "objective.burning", "objective.exhausted"]
    assert [data["alert"]["severity"] for _, data in told[:2]] == ["ticket", "page"]
    assert told[2][1]["requirement_id"] == str(world.requirement_id)


async def test_while_the_budget_burns_the_evidence_says_when_it_will_be_spent(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(55)
    evidence = (await world.current() or {})["objectives"][0]
    assert ("alert" in evidence, "exhaustion" in evidence) == (False, False)
    await world.live(3, errors=0.7)
    evidence = (await world.current() or {})["objectives"][0]
    assert (evidence["state"], evidence["alert"]["severity"], evidence["alert"]["rate"]) == ("AT_RISK", "ticket", 1.0)
    spent = {name: datetime.fromisoformat(at) for name, at in evidence["exhaustion"].items() if at}
    assert world.now - timedelta(minutes=1) < spent["earliest_at"] <= spent["expected_at"]
    assert spent["expected_at"] < world.now + timedelta(seconds=120)


async def test_the_evidence_counts_every_request_once(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(40, errors=0.02)
    evidence = (await world.current() or {})["objectives"][0]
    total = sum(int(row.sum()) for row in world.counts.values())
    bad = sum(int(row.sum()) for (_, status), row in world.counts.items() if status == "500")
    assert evidence["total"] == total
    assert evidence["good"] == total - bad


async def test_without_telemetry_there_is_no_verdict_but_no_data(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(3, requests=0)
    assert await world.verdicts() == ["NO_DATA"]
    assert "no data" in (await world.current() or {})["reason"]


async def test_telemetry_that_stops_becomes_no_data_after_a_while(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(20)
    await world.live(9, requests=0)
    assert (await world.verdicts())[-1] == "MET"
    await world.live(6, requests=0)
    assert (await world.verdicts())[-1] == "NO_DATA"


async def test_a_new_revision_has_a_verdict_of_its_own_and_keeps_what_was_counted(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(20)
    stricter = world.ratio_slo(objectives=[{"target": 0.95}])
    await world.keep(world.requirement(stricter, revision=2, updated_at=world.now))
    await world.live(2)
    current = await world.current()
    assert current is not None
    assert (current["revision"], current["state"], current["previous"]) == (2, "MET", "MET")
    assert current["objectives"][0]["total"] == sum(int(row.sum()) for row in world.counts.values())
    assert await world.verdicts() == ["MET", "MET"]


@pytest.mark.parametrize("how", ["retired", "deleted"])
async def test_a_requirement_that_is_no_longer_in_force_is_let_go(world: Any, how: str) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(25)
    await world.live(3, seconds=0.6)
    if how == "retired":
        await world.keep(world.requirement(world.latency_slo(), revision=2, status="retired", updated_at=world.now))
    else:
        await world.forget()
    await world.live(2, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    assert await world.current() is None
    async with world.sessions() as session:
        for table in ("objectives", "objective_slices", "detectors"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_time_slices_are_judged_when_they_are_over(world: Any) -> None:
    objective = {"target": 0.5, "timeSliceTarget": 0.9, "timeSliceWindow": "10s"}
    threshold = world.latency_slo(budgetingMethod="Timeslices", objectives=[objective | {"op": "lte", "value": 0.25}])
    ratio = world.ratio_slo(budgetingMethod="Timeslices", objectives=[objective])
    await world.keep(world.requirement(threshold, ratio))
    await world.live(20)
    await world.live(5, seconds=0.6, errors=0.5)
    await world.live(3)
    found = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    for slo in ("latency", "errors"):
        assert (found[slo]["good"], found[slo]["total"]) == (4, 5)


async def test_a_calendar_window_begins_anew_with_its_period(world: Any) -> None:
    # The world lives in seconds: windows of two minutes, from the epoch of the calendar on.
    window = {
        "duration": "2m",
        "isRolling": False,
        "calendar": {"startTime": "2020-01-01 00:00:00", "timeZone": "UTC"},
    }
    await world.keep(world.requirement(world.ratio_slo(timeWindow=[window])))
    totals = []
    for _ in range(70):
        await world.live(1)
        totals.append(((await world.current() or {})["window_start"], (await world.current() or {})["objectives"][0]))
    starts = sorted({start for start, _ in totals})
    assert len(starts) >= 2
    assert all(start.endswith((":00Z", ":00+00:00")) for start in starts)
    for start in starts[1:]:
        first, *later = [evidence["total"] for begun, evidence in totals if begun == start]
        assert first <= min(later, default=first)
        assert first < max(evidence["total"] for begun, evidence in totals if begun == starts[0])


async def test_a_composite_slo_and_one_of_another_tool(world: Any) -> None:
    latency, errors = world.latency_slo(), world.ratio_slo()
    composite = {
        "name": "shop",
        "timeWindow": [{"duration": "2m"}],
        "objectives": [
            latency["objectives"][0] | {"indicator": latency["indicator"]},
            {"target": 0.9, "indicator": errors["indicator"], "compositeWeight": 9},
        ],
    }
    foreign = {
        "name": "foreign",
        "indicator": {
            "ratioMetric": {
                "raw": {"metricSource": {"type": "Prometheus", "spec": {"query": "up"}}},
                "rawType": "success",
            }
        },
        "timeWindow": [{"duration": "30d"}],
        "objectives": [{"target": 0.9}],
    }
    await world.keep(world.requirement(composite))
    await world.live(12)
    assert (await world.verdicts())[-1] == "MET"
    assert [each["weight"] for each in (await world.current() or {})["objectives"]] == [1.0, 9.0]
    await world.keep(world.requirement(composite, foreign, revision=2))
    await world.live(1)
    current = await world.current() or {}
    assert current["state"] == "NO_DATA"
    assert [each["state"] for each in current["objectives"]] == ["MET", "MET", "NO_DATA"]
    assert "foreign, objective 1: no data: it is read from Prometheus" in current["reason"]
    await world.keep(world.requirement(foreign, revision=3))
    await world.live(2)
    assert (await world.verdicts())[-1] == "NO_DATA"
    assert len((await world.current() or {})["objectives"]) == 1


# --- Adjustments of budgets -----------------------------------------------------------------------------


async def test_errors_within_an_adjustment_burn_nothing_and_its_time_is_told(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(40)
    began = world.now
    await world.adjust((began, began + timedelta(seconds=12 * world.step)))
    await world.live(12, errors=0.95)
    assert await world.verdicts() == ["MET"]
    await world.live(3)
    evidence = (await world.current() or {})["objectives"][0]
    assert evidence["budget_remaining"] == 1
    assert evidence["adjusted"] > 0
    total = sum(int(row.sum()) for row in world.counts.values())
    assert evidence["good"] == evidence["total"] == total - evidence["adjusted"]
    assert "left out by budget adjustments" in (await world.current() or {})["reason"]
    assert [subject for subject, _ in await world.events() if subject.startswith("objective.")] == []


async def test_what_was_approved_afterwards_gives_the_budget_back_and_a_revocation_takes_it(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(40)
    began = world.now
    await world.live(12, errors=0.95)
    assert (await world.verdicts())[-1] == "VIOLATED"
    await world.adjust((began, world.now))
    await world.live(4)
    assert (await world.verdicts())[-1] == "MET"
    await world.adjust(revision=3)
    await world.live(1)
    assert (await world.verdicts())[-1] == "VIOLATED"


@pytest.mark.parametrize(
    ("scope", "reaches"),
    [
        ({"requirement_ids": []}, False),
        ({"service": "shop"}, True),
        ({"service": "shop", "team": "payments"}, True),
        ({"service": "shop", "team": "search"}, False),
        ({"service": "till"}, False),
    ],
)
async def test_an_adjustment_of_a_service_reaches_its_requirements_by_team(
    world: Any, scope: dict[str, Any], reaches: bool
) -> None:
    await world.keep(world.requirement(world.ratio_slo(), service="shop", owner_team="payments"))
    await world.live(40)
    began = world.now
    await world.adjust((began, began + timedelta(seconds=30 * world.step)), **({"requirement_ids": []} | scope))
    await world.live(12, errors=0.95)
    assert (await world.verdicts())[-1] == ("MET" if reaches else "VIOLATED")


async def test_silence_and_anomalies_are_no_matter_during_maintenance(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(25)
    began = world.now
    await world.adjust((began, began + timedelta(seconds=40 * world.step)))
    await world.live(5, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "open"
    await world.live(30, requests=0)
    assert (await world.verdicts())[-1] == "MET"
    assert (await world.current() or {})["anomalies"] == []


async def test_a_budget_of_time_shrinks_by_what_is_left_out(world: Any) -> None:
    objective = {"target": 0.5, "timeSliceTarget": 0.9, "timeSliceWindow": "10s", "op": "lte", "value": 0.25}
    slo = world.latency_slo(budgetingMethod="Timeslices", objectives=[objective])
    await world.keep(world.requirement(slo))
    await world.live(20)
    await world.live(5, seconds=0.6)
    before = (await world.current() or {})["objectives"][0]
    window = timedelta(minutes=2)
    await world.adjust((world.now - window, world.now - window / 2))
    await world.live(1)
    after = (await world.current() or {})["objectives"][0]
    assert before["budget_remaining"] == pytest.approx(5 / 6), "one bad slice of six that may be"
    assert after["budget_remaining"] == pytest.approx(2 / 3), "one of three"


# --- Budget policies ------------------------------------------------------------------------------------


async def test_each_rule_of_a_budget_policy_is_told_once_when_it_is_reached_and_shown_while_it_applies(
    world: Any,
) -> None:
    policy = [{"spent": 0.5, "action": "Only fixes are deployed."}, {"spent": 1, "action": "Nothing is deployed."}]
    await world.keep(world.requirement(world.ratio_slo(), budget_policy=policy))
    await world.live(50)

    async def told() -> list[tuple[float, int]]:
        events = [data for subject, data in await world.events() if subject == "policy.reached"]
        return [(each["rule"]["spent"], each["requirement_revision"]) for each in events]

    async def applies() -> Any:
        return (await world.current() or {})["objectives"][0].get("policy")

    assert (await told(), await applies()) == ([], None)
    await world.live(4, errors=0.95)
    assert await told() == [(0.5, 1)]
    assert await applies() == policy[0]
    assert "as 50% of it is spent: Only fixes are deployed." in (await world.current() or {})["reason"]
    await world.live(8, errors=0.95)
    assert await told() == [(0.5, 1), (1, 1)]
    assert await applies() == policy[1]
    await world.live(70)
    assert await applies() is None
    assert await told() == [(0.5, 1), (1, 1)]
    shown = [
        [each.get("policy", {}).get("spent") for each in data["verdict"]["objectives"]]
        for subject, data in await world.events()
        if subject == "verdict.changed"
    ]
    assert [0.5] in shown
    assert [1] in shown
    assert shown[-1] == [None]


async def test_what_one_evaluation_overspends_tells_all_rules_that_it_passed(world: Any) -> None:
    policy = [{"spent": part, "action": f"{part} is gone"} for part in (0.25, 0.5, 1, 9)]
    await world.keep(world.requirement(world.ratio_slo(), budget_policy=policy))
    await world.live(30)
    await world.live(12, errors=0.95, evaluate=False)
    await world.live(1)
    told = [data["rule"]["spent"] for subject, data in await world.events() if subject == "policy.reached"]
    assert told == [0.25, 0.5, 1]
