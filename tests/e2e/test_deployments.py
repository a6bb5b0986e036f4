"""What a pipeline tells, from the request to whoever listens."""

from typing import Any

import webhook_sender

PATH = "/api/v1/deployments"


async def test_a_deployment_reaches_who_reads_and_who_listens(caller: Any, stranger: Any, until: Any) -> None:
    pipeline, viewer = caller("ingest", subject="pipeline"), caller("viewer")
    content = {"service": "checkout", "version": "1.4.2", "environment": "production", "external_id": "1208"}
    made = (await pipeline.post(PATH, json=content)).raise_for_status()
    again = await pipeline.post(PATH, json=content)
    assert (made.status_code, again.status_code) == (201, 200)
    deployment = made.json()
    listed = (await viewer.get(PATH, params={"service": "checkout", "limit": 1})).json()
    assert listed == {"items": [deployment], "total": 1}

    async def told() -> bool:
        return bool(stranger.told("analysis.deployment.recorded.v1", deployment["id"]))

    await until(told, 10, "the event")
    (heard,) = stranger.told("analysis.deployment.recorded.v1", deployment["id"])
    assert heard.body["deployment"] == deployment
    assert stranger.misfits() == []


async def test_a_signed_delivery_passes_the_gateway_without_a_token(caller: Any) -> None:
    hook = {"service": "shipping", "format": "github", "secret": "e2e-hook"}
    made = (await caller("editor").post("/api/v1/deployment-hooks", json=hook)).raise_for_status().json()
    github, path = caller(token=""), f"/api/v1/deployment-hooks/{made['id']}/deliveries"
    sent = webhook_sender.github("hook-of-e2e", webhook_sender.deployment_status(ref="v1.4.2"))
    taken = await github.post(path, **sent)
    assert (taken.status_code, taken.json()["outcome"]) == (200, "recorded"), taken.text
    (deployment,) = (await caller("viewer").get(PATH, params={"service": "shipping"})).json()["items"]
    assert (deployment["id"], deployment["version"]) == (taken.json()["deployment_id"], "v1.4.2")
    # Nothing else of the path is open: the gateway itself refuses.
    for method, beside in (("GET", path), ("POST", f"{path}/"), ("POST", path.removesuffix("/deliveries"))):
        refused = await github.request(method, beside, **sent)
        assert (refused.status_code, refused.json()["detail"]) == (401, "Jwt is missing"), beside
