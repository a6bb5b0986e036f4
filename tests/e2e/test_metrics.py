"""What the running suite tells of itself stands in docs/metrics.md, with no other attributes."""

from pathlib import Path
from typing import Any

from plumbline_common import reference

ROOT = Path(__file__).parents[2]


async def test_each_metric_that_arrives_stands_in_the_reference(caller: Any, until: Any) -> None:
    attributes = {each.name: set(each.attributes) for each in reference.every(ROOT)}
    viewer = caller("viewer")

    async def of_the_suite() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for service in ("gateway", "requirements", "search", "analysis", "analysis-worker"):
            skip = 0
            while True:
                query = {"service": f"plumbline-{service}", "limit": 100, "skip": skip}
                page = (await viewer.get("/api/v1/signals", params=query)).raise_for_status().json()
                for item in page["items"]:
                    found.setdefault(item["metric"], set()).update(set(item["attributes"]) - set(reference.RESOURCE))
                skip += 100
                if skip >= page["total"]:
                    break
        return found

    async def arrived() -> bool:
        return {"plumbline.outbox.age", "plumbline.job.queue.age", "process.memory.usage"} <= set(
            await of_the_suite()
        )

    await until(arrived, 30, "metrics of the services, the workers and the gateway")
    found = await of_the_suite()
    assert set(found) - set(attributes) == set()
    assert {name: names - attributes[name] for name, names in found.items() if names - attributes[name]} == {}
