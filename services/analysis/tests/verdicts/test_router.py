from typing import Any

import httpx


async def listed(viewer: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    reply = await viewer.get("/api/v1/verdicts", params=asked)
    assert reply.status_code == 200
    return dict(reply.json())


async def test_each_requirement_in_force_has_its_latest_verdict_with_the_evidence(
    viewer: httpx.AsyncClient, world: Any
) -> None:
    other = "0190a8a0-0000-7000-8000-000000000002"
    await world.keep(world.requirement(world.latency_slo(), world.ratio_slo()))
    silent = world.latency_slo()
    silent["indicator"]["thresholdMetric"]["metricSource"]["spec"]["metric"] = "silence"
    await world.keep(world.requirement(silent, id=other, key="REQ-2"))
    await world.live(15)

    every = await listed(viewer)
    assert every["total"] == 2
    found = {each["requirement_key"]: each for each in every["items"]}
    assert (found["REQ-1"]["state"], found["REQ-2"]["state"]) == ("MET", "NO_DATA")
    assert {each["slo"]: each["state"] for each in found["REQ-1"]["objectives"]} == {
        "latency": "MET",
        "errors": "MET",
    }
    assert found["REQ-1"]["changed_at"] < found["REQ-1"]["evaluated_at"] == found["REQ-1"]["window_end"]
    assert found["REQ-1"]["requirement_title"] == "The shop answers quickly"

    only = await listed(viewer, requirement_id=other)
    assert (only["total"], only["items"]) == (1, [found["REQ-2"]])
    assert (await listed(viewer, state="MET"))["items"] == [found["REQ-1"]]
    assert (await listed(viewer, limit=1))["total"] == 2


async def test_a_verdict_on_a_revision_that_is_not_in_force_any_more_is_stale(
    viewer: httpx.AsyncClient, world: Any
) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(10)
    assert [each["stale"] for each in (await listed(viewer))["items"]] == [False]
    await world.keep(world.requirement(world.ratio_slo(objectives=[{"target": 0.5}]), revision=2))
    (before,) = (await listed(viewer))["items"]
    assert (before["revision"], before["stale"]) == (1, True)
    await world.live(1)
    (after,) = (await listed(viewer))["items"]
    assert (after["revision"], after["stale"]) == (2, False)


async def test_between_changes_the_evidence_goes_on_and_the_change_stands(
    viewer: httpx.AsyncClient, world: Any
) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
    await world.live(10)
    (before,) = (await listed(viewer))["items"]
    await world.live(5)
    (after,) = (await listed(viewer))["items"]
    assert after["changed_at"] == before["changed_at"]
    assert after["objectives"][0]["total"] > before["objectives"][0]["total"]
