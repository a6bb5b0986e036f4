"""What a pipeline tells, from the request to whoever listens."""

from typing import Any

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
