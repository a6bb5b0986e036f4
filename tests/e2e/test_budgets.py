"""What burns no error budget, from the request at one service to the verdict of another."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

PATH = "/api/v1/requirements"
ADJUSTMENTS = "/api/v1/adjustments"


def requests(**attributes: str) -> dict[str, Any]:
    query = {
        "metric": "http.server.request.duration",
        "attributes": {"service.name": "plumbline-gateway"} | attributes,
    }
    return {"metricSource": {"spec": query}}


SLO = {
    "name": "no-refusals",
    "indicator": {
        "ratioMetric": {"bad": requests(**{"http.response.status_class": "4xx"}), "total": requests()},
    },
    "timeWindow": [{"duration": "1h"}],
    "objectives": [{"target": 0.5}],
}


@pytest.mark.long
async def test_an_adjustment_reaches_the_verdict_and_whoever_listens(caller: Any, stranger: Any, until: Any) -> None:
    alice = caller("editor", subject="alice", teams=["platform"])
    rita = caller("reviewer", subject="rita")
    body = {"title": "The gateway refuses little", "owner_team": "platform", "service": "gateway-of-budgets"}
    made = (await alice.post(PATH, json=body | {"slos": [SLO]})).raise_for_status().json()
    for client, state in ((alice, "in_review"), (rita, "approved"), (alice, "active")):
        answer = await client.patch(f"{PATH}/{made['id']}", json={"status": state}, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text

    async def evidence() -> Any:
        found = (await alice.get("/api/v1/verdicts", params={"requirement_id": made["id"]})).json()["items"]
        return found[0]["objectives"][0] if found else None

    async def measured() -> bool:
        found = await evidence()
        return found is not None and found["total"] > 0

    async def left_out() -> bool:
        found = await evidence()
        return found is not None and found.get("adjusted", 0) > 0 and found["total"] == 0

    await until(measured, 60, "requests are counted")
    asked = await alice.post(
        ADJUSTMENTS,
        json={
            "service": "gateway-of-budgets",
            "team": "platform",
            "category": "maintenance",
            "reason": "the gateway is tried out",
            "starts_at": (datetime.now(UTC) - timedelta(hours=2)).isoformat(),
            "duration": "3h",
        },
    )
    adjustment = asked.raise_for_status().json()
    assert asked.headers["location"] == f"{ADJUSTMENTS}/{adjustment['id']}"
    decision = await decided(rita, adjustment)
    assert (decision["status"], decision["active"]) == ("approved", True)
    await until(left_out, 30, "the requests burn no budget")

    async def told() -> bool:
        return bool(stranger.told("requirements.budget.adjusted.v1", adjustment["id"]))

    await until(told, 10, "the event")
    (heard,) = stranger.told("requirements.budget.adjusted.v1", adjustment["id"])
    assert heard.body["adjustment"]["windows"] == decision["windows"]
    assert stranger.misfits() == []


async def decided(reviewer: httpx.AsyncClient, adjustment: dict[str, Any]) -> dict[str, Any]:
    answer = await reviewer.post(
        f"{ADJUSTMENTS}/{adjustment['id']}/decision",
        json={"decision": "approve", "comment": "as agreed"},
        headers={"If-Match": f'"{adjustment["revision"]}"'},
    )
    decision: dict[str, Any] = answer.raise_for_status().json()
    return decision
