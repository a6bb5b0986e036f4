"""What is pulled, from the operator's request to whoever reads and listens."""

from typing import Any

import pytest

import bad_days

PATH = "/api/v1/sources"


def source(name: str, url: str) -> dict[str, Any]:
    spec = {"url": url, "queries": [{"name": "pulled.orders", "query": name}], "up": False, "timeout_seconds": 1}
    return {"name": name, "kind": "prometheus", "spec": spec, "backfill_seconds": 300}


@pytest.mark.embedded("the source is in this process, which no container reaches")
async def test_points_are_pulled_and_who_fails_is_told(caller: Any, stranger: Any, until: Any) -> None:
    operator, viewer = caller("operator", subject="olga"), caller("viewer")
    async with bad_days.serving() as fake:
        fake.behaviours["login"] = bad_days.answer(b"<html>", kind="text/html")
        good, bad = [
            (await operator.post(PATH, json=source(name, fake.url))).raise_for_status().json()
            for name in ("orders", "login")
        ]

        async def states() -> list[str]:
            listed = (await viewer.get(PATH)).json()["items"]
            return [each["status"]["state"] for each in listed if each["id"] in (good["id"], bad["id"])]

        async def pulled() -> bool:
            return await states() == ["failing", "healthy"]

        async def told() -> bool:
            return bool(stranger.told("analysis.source.failing.v1", bad["id"]))

        await until(pulled, 20, "one source that is healthy and one that is not")
        await until(told, 10, "the event")
        for made in (good, bad):
            await operator.delete(f"{PATH}/{made['id']}", headers={"If-Match": "*"})
    (heard,) = stranger.told("analysis.source.failing.v1", bad["id"])
    assert (heard.body["reason"], heard.body["name"]) == ("html", "login")
    (signal,) = (await viewer.get("/api/v1/signals", params={"metric": "pulled.orders"})).json()["items"]
    assert (signal["source"], signal["service"]) == ("prometheus", "shop")
    series = (await viewer.get(f"/api/v1/signals/{signal['id']}/series")).json()
    assert len(series["points"]) > 10
    assert stranger.misfits() == []
