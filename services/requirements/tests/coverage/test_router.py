"""Coverage through the API, on a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from lifecycle import PATH, activated, created, patched
from plumbline_common.events import VerdictChanged
from plumbline_common.schemas import Verdict, VerdictState
from plumbline_requirements.requirements import service as requirements

COVERAGE = "/api/v1/coverage"
SLO = {
    "name": "answers",
    "indicator": {"thresholdMetric": {"metricSource": {"spec": {"metric": "latency"}}}},
    "timeWindow": [{"duration": "30d"}],
    "budgetingMethod": "Timeslices",
    "objectives": [{"op": "lte", "value": 0.3, "target": 0.99, "timeSliceTarget": 1.0, "timeSliceWindow": "1m"}],
}
NOW = datetime(2026, 5, 1, tzinfo=UTC)


async def judged(app: Any, requirement: dict[str, Any], state: VerdictState, revision: int | None = None) -> None:
    verdict = Verdict(
        requirement_id=UUID(requirement["id"]),
        revision=revision or requirement["revision"],
        state=state,
        previous=None,
        window_start=NOW - timedelta(days=30),
        window_end=NOW,
        objectives=[],
        anomalies=[],
        reason="as told",
    )
    async with app.state.sessions.begin() as session:
        await requirements.judge(session, VerdictChanged(verdict=verdict, changed_at=NOW))


async def verified(
    client: httpx.AsyncClient, target: dict[str, Any], result: str = "passed", **of_test: Any
) -> dict[str, Any]:
    test = await created(client, title="The test of it", **of_test)
    link = {
        "source_id": test["id"],
        "target_id": target["id"],
        "type": "verifies",
        "evidence": {"result": result, "at": "2026-05-01T00:00:00Z"},
    }
    assert (await client.post("/api/v1/links", json=link)).status_code == 201
    return test


async def gaps(client: httpx.AsyncClient, *names: str) -> set[str]:
    items = (await client.get(PATH, params={"gap": names, "limit": 100})).json()["items"]
    return {each["title"] for each in items}


async def counted(client: httpx.AsyncClient, **query: Any) -> Any:
    response = await client.get(COVERAGE, params=query)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
async def whole(app: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient) -> dict[str, Any]:
    """One that lacks nothing."""
    made = await created(alice, title="Whole", owner_team="payments", service="shop", slos=[SLO])
    await verified(alice, made, service="tests", owner_team="payments")
    active = await activated(alice, rita, made["id"])
    await judged(app, active, VerdictState.MET)
    return active


async def test_what_lacks_nothing_is_complete_and_each_gap_is_counted_and_found(
    app: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    await created(alice, title="Bare", service="shop")
    silent = await created(alice, title="Silent", owner_team="payments", service="shop", slos=[SLO])
    await verified(alice, silent, service="tests", owner_team="payments")
    await activated(alice, rita, silent["id"])
    shop = await counted(alice, service="shop")
    assert shop["whole"] == {
        "total": 3,
        "in_force": 2,
        "complete": 1,
        "without": {"sli": 1, "owner": 1, "verification": 1, "verdict": 1},
    }
    assert (shop["total"], [each["value"] for each in shop["items"]]) == (1, ["shop"])
    assert {name: await gaps(alice, name) for name in ("sli", "owner", "verification", "verdict")} == {
        "sli": {"Bare", "The test of it"},
        "owner": {"Bare"},
        "verification": {"Bare", "The test of it"},
        "verdict": {"Silent"},
    }
    assert await gaps(alice, "owner", "verdict") == {"Bare", "Silent"}


@pytest.mark.parametrize(
    ("state", "counts"), [(VerdictState.NO_DATA, 1), (VerdictState.VIOLATED, 0), (VerdictState.AT_RISK, 0)]
)
async def test_a_verdict_without_data_is_none(
    app: Any, alice: httpx.AsyncClient, rita: httpx.AsyncClient, state: VerdictState, counts: int
) -> None:
    made = await activated(alice, rita, (await created(alice, slos=[SLO]))["id"])
    await judged(app, made, state)
    assert (await counted(alice))["whole"]["without"]["verdict"] == counts


async def test_a_verdict_on_what_was_in_force_before_is_none(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    await patched(alice, whole["id"], statement="It shall answer.")
    assert (await counted(alice, service="shop"))["whole"]["without"]["verdict"] == 0, "the old one is in force still"
    await activated(alice, rita, whole["id"])
    assert (await counted(alice, service="shop"))["whole"]["without"]["verdict"] == 1


async def test_verification_is_evidence_that_passed_for_what_is_demanded_now(
    alice: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    failed = await created(alice, title="Failed", owner_team="payments")
    await verified(alice, failed, "failed", owner_team="payments")
    assert "Failed" in await gaps(alice, "verification")
    assert "Whole" not in await gaps(alice, "verification")
    await patched(alice, whole["id"], rationale="said better")
    assert "Whole" not in await gaps(alice, "verification"), "bookkeeping changes no demand"
    await patched(alice, whole["id"], statement="It shall answer at once.")
    assert "Whole" in await gaps(alice, "verification")


async def test_groups_come_with_most_gaps_first_in_pages(
    alice: httpx.AsyncClient, rita: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    for service, count in (("a", 1), ("b", 3), (None, 2)):
        for _ in range(count):
            await created(alice, service=service)
    retired = await activated(alice, rita, (await created(alice, service="gone"))["id"])
    for to in ("deprecated", "retired"):
        await alice.post(f"{PATH}/{retired['id']}/transitions", json={"to": to}, headers={"If-Match": "*"})
    found = await counted(alice, limit=3)
    assert ([each["value"] for each in found["items"]], found["total"]) == (["b", None, "a"], 5)
    assert [each["value"] for each in (await counted(alice, skip=3))["items"]] == ["tests", "shop"]
    assert (await counted(alice, skip=9))["whole"]["total"] == 8
    assert (await counted(alice, status="retired"))["whole"]["total"] == 1
    by_team = await counted(alice, by="owner_team")
    assert {each["value"]: each["complete"] for each in by_team["items"]} == {None: 0, "payments": 1}
    assert (await alice.get(COVERAGE, params={"by": "moon"})).status_code == 422


async def test_nothing_at_all_is_no_error(alice: httpx.AsyncClient) -> None:
    found = await counted(alice)
    assert (found["whole"]["total"], found["items"], found["total"]) == (0, [], 0)
    for form in ("html", "markdown"):
        assert (await alice.get(f"{COVERAGE}/report", params={"format": form})).status_code == 200


async def test_services_that_openslo_names_and_no_requirement_has(
    alice: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    named = [
        {
            "apiVersion": "openslo/v1",
            "kind": "Service",
            "metadata": {"name": name, "displayName": name.title()},
            "spec": {"description": f"sells {name}"},
        }
        for name in ("shop", "apples", "pears")
    ]
    assert (await alice.post("/api/v1/openslo/import", json=named)).status_code == 200
    found = (await alice.get(f"{COVERAGE}/services", params={"limit": 1})).json()
    apples = {"name": "apples", "display_name": "Apples", "description": "sells apples"}
    assert found == {"items": [apples], "total": 2}
    assert (await alice.get(f"{COVERAGE}/services", params={"skip": 5})).json() == {"items": [], "total": 2}
    await created(alice, service="apples")
    names = [each["name"] for each in (await alice.get(f"{COVERAGE}/services")).json()["items"]]
    assert names == ["pears"]


async def test_the_report_shows_it_with_pictures_and_runs_nothing_of_what_people_wrote(
    alice: httpx.AsyncClient, whole: dict[str, Any]
) -> None:
    await created(alice, title="<script>alert(1)</script> | *x*", service="<b>|")
    answer = await alice.get(f"{COVERAGE}/report")
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src" not in answer.headers["content-security-policy"]
    page = answer.text
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<svg") == 4
    assert "66 % (2 of 3)" in page
    text = (await alice.get(f"{COVERAGE}/report", params={"format": "markdown", "service": "shop"})).text
    assert "service shop" in text
    assert "| with all of it | 1 | 1 | 100 % |" in text
    odd = (await alice.get(f"{COVERAGE}/report", params={"format": "markdown"})).text
    assert r"\<script\>alert(1)\</script\> \| \*x\*" in odd
