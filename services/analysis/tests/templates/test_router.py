from datetime import timedelta
from typing import Any

import httpx
import pytest

PATH = "/api/v1/log-templates"


@pytest.fixture
async def mined(app: Any, log_world: Any) -> Any:
    """Two services whose lines have been mined."""
    await log_world.log({"cart 7 paid": 3, "door opened": 1})
    await log_world.log({"100% sent_now": 2}, log_world.now + timedelta(seconds=9), of="mail")
    log_world.now += timedelta(minutes=1)
    await log_world.evaluate()
    return log_world


async def listed(viewer: httpx.AsyncClient, **asked: Any) -> list[str]:
    reply = await viewer.get(PATH, params=asked)
    assert reply.status_code == 200
    return [each["template"] for each in reply.json()["items"]]


async def test_templates_are_listed_sorted_and_filtered(viewer: httpx.AsyncClient, mined: Any) -> None:
    assert (await listed(viewer))[0] == "<*> sent_now"
    assert await listed(viewer, sort="-count") == ["cart <*> paid", "<*> sent_now", "door opened"]
    assert await listed(viewer, sort="count", skip=1, limit=1) == ["<*> sent_now"]
    assert set(await listed(viewer, service="shop")) == {"cart <*> paid", "door opened"}
    assert await listed(viewer, q="CART") == ["cart <*> paid"]
    assert await listed(viewer, q="sent_") == ["<*> sent_now"]
    assert await listed(viewer, q="t%n") == []
    assert (await viewer.get(PATH, params={"limit": 1})).json()["total"] == 3


async def test_one_template_tells_when_it_came_and_what_its_lines_say(viewer: httpx.AsyncClient, mined: Any) -> None:
    (told,) = (await viewer.get(PATH, params={"q": "cart"})).json()["items"]
    assert (await viewer.get(f"{PATH}/{told['id']}")).json() == told
    assert told | {"id": ""} == {
        "id": "",
        "service": "shop",
        "template": "cart <*> paid",
        "count": 3,
        "first_seen": mined.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "last_seen": mined.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "examples": ["cart 7 paid"],
        "revision": 1,
    }


async def test_a_template_that_became_part_of_another_is_that_one(viewer: httpx.AsyncClient, mined: Any) -> None:
    for colours in (("red", "blue", "green"), ("white",)):
        await mined.log({f"lamp turned {colour}": 1 for colour in colours})
        await mined.evaluate()
        if len(colours) > 1:
            parts = (await viewer.get(PATH, params={"q": "lamp"})).json()["items"]
    (whole,) = (await viewer.get(PATH, params={"q": "lamp"})).json()["items"]
    for part in parts:
        assert (await viewer.get(f"{PATH}/{part['id']}")).json() == whole


async def test_an_unknown_template_is_not_found(viewer: httpx.AsyncClient) -> None:
    assert (await viewer.get(f"{PATH}/0190a8a0-0000-7000-8000-000000000000")).status_code == 404
    assert (await viewer.get(f"{PATH}/not-an-id")).status_code == 422
    assert (await viewer.get(PATH, params={"sort": "colour"})).status_code == 422


async def test_a_collector_may_not_read(collector: httpx.AsyncClient) -> None:
    assert (await collector.get(PATH)).status_code == 403


async def test_an_anomaly_of_logs_shows_its_lines(viewer: httpx.AsyncClient, app: Any, log_world: Any) -> None:
    await log_world.learn()
    await log_world.minutes(1, **{"tank 7 burst": 4})
    (anomaly,) = (await viewer.get("/api/v1/anomalies", params={"service": "shop"})).json()["items"]
    assert anomaly["log"] == {
        "kind": "new",
        "template_id": str((await log_world.templates())["tank <*> burst"].id),
        "template": "tank <*> burst",
        "examples": ["tank 7 burst"] * 3,
        "shares": [],
        "interval_seconds": 60,
    }
    assert (await viewer.get(f"/api/v1/anomalies/{anomaly['id']}")).json() == anomaly
