"""From a requirement in force to a signed message at a webhook."""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import lifecycle
import webhook_receiver

TARGETS = "/api/v1/notification-targets"
SLO = {
    "name": "queue",
    "indicator": {
        "thresholdMetric": {
            "metricSource": {"spec": {"metric": "queue.length", "attributes": {"service.name": "queue-of-e2e"}}}
        }
    },
    "timeWindow": [{"duration": "1h"}],
    "objectives": [{"op": "lte", "value": 50, "target": 0.9}],
}


@pytest.mark.embedded("the webhook is in this process, which no container reaches")
async def test_a_verdict_reaches_a_webhook_signed(caller: Any, until: Any) -> None:
    alice, rita = caller("editor", subject="alice", teams=["platform"]), caller("reviewer", subject="rita")
    olga = caller("operator", subject="olga")
    async with webhook_receiver.serving() as receiver:
        made = await lifecycle.created(alice, owner_team="platform", service="queue-of-e2e", slos=[SLO])
        target = {
            "name": "e2e",
            "url": f"{receiver.url}/hook",
            "events": ["verdict.changed"],
            "requirement_ids": [made["id"]],
            "group_wait_seconds": 0,
            "secret": "e2e-hook",
        }
        path = f"{TARGETS}/{(await olga.post(TARGETS, json=target)).raise_for_status().json()['id']}"
        tried = (await olga.post(f"{path}/test")).raise_for_status().json()
        assert tried["delivered"], tried
        now = datetime.now(UTC)
        points = [
            {
                "metric": "queue.length",
                "resource": {"service.name": "queue-of-e2e"},
                "time": (now - timedelta(seconds=2 * back)).isoformat(),
                "value": 100,
            }
            for back in range(300, 0, -1)
        ]
        pushed = await olga.post("/api/v1/telemetry/points", json={"points": points})
        assert pushed.json()["rejected"] == []
        await lifecycle.activated(alice, rita, made["id"])

        async def told() -> bool:
            return len(receiver.messages) > 1

        await until(told, 30, "the message")
        trial, message, *_ = receiver.messages
        assert trial.json["text"].startswith("🔥 [info] A test")
        (alert,) = message.json["data"]["alerts"]
        assert (alert["event"], alert["status"]) == ("verdict.changed", "firing")
        assert alert["summary"].startswith(f"{made['key']} is VIOLATED: ")
        # The link opens, at the gateway.
        assert alert["url"].startswith(str(olga.base_url))
        assert (await olga.get(alert["url"])).status_code == 200
        signed = f"{message.headers['webhook-id']}.{message.headers['webhook-timestamp']}.".encode() + message.body
        expected = base64.b64encode(hmac.digest(b"hook-of-e2e", signed, "sha256")).decode()
        assert message.headers["webhook-signature"] == f"v1,{expected}"

        async def noted() -> bool:
            page = (await olga.get(f"{path}/deliveries", params={"state": "delivered"})).json()
            return [each["id"] for each in page["items"]] == [message.headers["webhook-id"]]

        await until(noted, 10, "the delivery")
        assert (await olga.delete(path, headers={"If-Match": "*"})).status_code == 204
