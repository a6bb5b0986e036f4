"""The signals of one service, judged together."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np

from plumbline_common.schemas import utc

STEP, SLICES = 10, 300
END = datetime.now(UTC).replace(microsecond=0, second=0) - timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def live(collector: httpx.AsyncClient) -> None:
    """Fifty minutes of a shop whose CPU leaves its requests for the last two."""
    random = np.random.default_rng(5)
    load = 100 + random.normal(0, 5, SLICES)
    cpu = load / 200 + random.normal(0, 0.01, SLICES)
    cpu[-12:] = 0.95
    metrics = []
    for name, values in {"queue.length": load, "process.cpu.utilization": cpu}.items():
        times = [END - timedelta(seconds=STEP * (SLICES - 1 - n)) for n in range(SLICES)]
        points = [
            {"timeUnixNano": str((time - EPOCH) // timedelta(microseconds=1) * 1000), "asDouble": value}
            for time, value in zip(times, values.tolist(), strict=True)
        ]
        metrics.append({"name": name, "unit": "1", "gauge": {"dataPoints": points}})
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}
    reply = await collector.post("/v1/metrics", json=body)
    assert (reply.status_code, reply.json()) == (200, {})


async def test_an_alarm_of_the_service_names_who_made_it(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    await live(collector)
    asked: dict[str, Any] = {
        "service": "shop",
        "from": utc(END - timedelta(minutes=10)),
        "to": utc(END),
        "step": STEP,
    }
    reply = await viewer.get("/api/v1/services/scores", params=asked)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert [each["metric"] for each in found["series"]] == ["process.cpu.utilization", "queue.length"]
    assert len(found["points"]) == 60
    (alarm,) = found["alarms"]
    assert utc(END - timedelta(minutes=2)) < alarm["onset"] <= alarm["peak_at"] <= alarm["end"]
    first = alarm["parts"][0]
    assert (first["metric"], first["aggregation"], first["value"]) == ("process.cpu.utilization", "mean", 0.95)
    assert 0.45 < first["usual"] < 0.55

    picture = await viewer.get("/api/v1/services/plot.svg", params={"service": "shop", "to": utc(END)})
    assert picture.status_code == 200
    assert "2 series of shop, judged together" in picture.text


async def test_a_service_that_sends_nothing_has_no_scores(viewer: httpx.AsyncClient) -> None:
    found = (await viewer.get("/api/v1/services/scores", params={"service": "nobody"})).json()
    assert (found["series"], found["points"], found["alarms"]) == ([], [], [])
    picture = await viewer.get("/api/v1/services/plot.svg", params={"service": "nobody"})
    assert (picture.status_code, "nothing unusual" in picture.text) == (200, True)
