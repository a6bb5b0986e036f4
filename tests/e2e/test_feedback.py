"""From an anomaly to a label, and from the label to another bar of its detector."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

PATH = "/api/v1/requirements"
QUEUE = {
    "name": "queue",
    "indicator": {
        "thresholdMetric": {
            "metricSource": {
                "spec": {
                    "metric": "queue.length",
                    "attributes": {"service.name": "shop-of-feedback"},
                    "aggregation": "mean",
                }
            }
        }
    },
    "timeWindow": [{"duration": "1h"}],
    "objectives": [{"op": "lte", "value": 50, "target": 0.9}],
}


async def push(collector: httpx.AsyncClient, values: Iterable[tuple[datetime, float]]) -> None:
    points = [
        {
            "metric": "queue.length",
            "resource": {"service.name": "shop-of-feedback"},
            "time": time.isoformat(),
            "value": value,
        }
        for time, value in values
    ]
    answer = await collector.post("/api/v1/telemetry/points", json={"points": points})
    assert answer.json()["rejected"] == []


@pytest.mark.long
async def test_a_label_is_told_and_found_and_a_bar_is_measured_before_it_is_applied(
    caller: Any, stranger: Any, until: Any
) -> None:
    alice, rita = caller("editor", subject="alice", teams=["platform"]), caller("reviewer", subject="rita")
    olga, collector = caller("operator", subject="olga"), caller("ingest")
    now = datetime.now(UTC)
    calm = ((now - timedelta(seconds=2 * back), 20.0 + back % 3) for back in range(300, 0, -1))
    await push(collector, calm)
    body = {
        "title": "The queue stays short",
        "owner_team": "platform",
        "service": "shop-of-feedback",
        "slos": [QUEUE],
    }
    made = (await alice.post(PATH, json=body)).raise_for_status().json()
    for client, state in ((alice, "in_review"), (rita, "approved"), (alice, "active")):
        moved = await client.patch(f"{PATH}/{made['id']}", json={"status": state}, headers={"If-Match": "*"})
        assert moved.status_code == 200, moved.text

    async def watched() -> Any:
        asked = {"service": "shop-of-feedback", "limit": 100}
        signals = (await olga.get("/api/v1/signals", params=asked)).json()["items"]
        found = [f"/api/v1/signals/{each['id']}/detector" for each in signals if each["kind"] == "indicator"]
        return found[0] if found and (await olga.get(found[0])).status_code == 200 else None

    async def anomaly() -> Any:
        await push(collector, [(datetime.now(UTC), 90.0)])
        items = (await olga.get("/api/v1/anomalies", params={"requirement_id": made["id"]})).json()["items"]
        return items[0] if items else None

    detector = await until(watched, 60, "a detector of the queue")
    found = await until(anomaly, 60, "an anomaly of the queue")
    one = f"/api/v1/anomalies/{found['id']}"
    said = {"label": "false_positive", "comment": "we filled it ourselves"}
    given = await olga.post(f"{one}/labels", json=said)
    assert given.status_code == 201, given.text
    assert (await olga.get(one)).json()["state"] == "false_positive"
    assert (await olga.get(f"{one}/labels")).json()["items"] == [given.json()]

    async def told_and_found() -> bool:
        query = {"query": "queue length", "kinds": ["anomaly"], "service": "shop-of-feedback"}
        items = (await olga.post("/api/v1/search", json=query)).json()["items"]
        told = stranger.told("analysis.anomaly.labelled.v1", found["id"])
        return bool(told) and [item["state"] for item in items] == ["false_positive"]

    await until(told_and_found, 30, "the label is told, and found by the search")
    (heard,) = stranger.told("analysis.anomaly.labelled.v1", found["id"])
    assert (heard.body["label"], heard.body["labelled_by"]) == ("false_positive", "olga")
    await bar_is_applied(olga, detector, found["id"])
    assert stranger.misfits() == []


async def bar_is_applied(olga: httpx.AsyncClient, detector: str, anomaly: str) -> None:
    before = await olga.get(detector)
    assert (before.json()["bar"], before.json()["false_positives"]) == (1.0, 1)
    effect = (await olga.get(f"{detector}/proposal")).json()["effect"]
    # The objective's threshold raises it at any bar.
    assert [each["anomaly_id"] for each in effect["kept"]] == [anomaly]
    assert effect["now"]["alarms"] >= 1
    change = {"bar": 1.3, "reason": "we tried it out"}
    applied = await olga.post(f"{detector}/revisions", json=change, headers={"If-Match": before.headers["etag"]})
    assert applied.status_code == 201, applied.text
    assert (await olga.get(detector)).json()["bar"] == 1.3
    assert (await olga.get(f"{detector}/revisions")).json()["items"] == [applied.json()]
