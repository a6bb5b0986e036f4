from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from plumbline_common.schemas import utc

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nano(moment: datetime) -> str:
    return str((moment - EPOCH) // timedelta(microseconds=1) * 1000)


def sums(values: list[float], step: int = 10, service: str = "shop", **point: Any) -> dict[str, Any]:
    """A cumulative counter, one point each `step` seconds from NOW on."""
    points = [
        {
            "startTimeUnixNano": nano(NOW - timedelta(seconds=step)),
            "timeUnixNano": nano(NOW + timedelta(seconds=n * step)),
            "asDouble": value,
        }
        | point
        for n, value in enumerate(values)
    ]
    shape = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}
    return wrapped({"name": "orders", "unit": "{order}", "sum": shape}, service)


def wrapped(metric: dict[str, Any], service: str = "shop") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def latency() -> dict[str, Any]:
    points = [
        {
            "startTimeUnixNano": nano(NOW - timedelta(seconds=10)),
            "timeUnixNano": nano(NOW + timedelta(seconds=10 * n)),
            "count": str(100 * (n + 1)),
            "sum": 1.0,
            "explicitBounds": [0.1, 0.2],
            "bucketCounts": [str(90 * (n + 1)), str(10 * (n + 1)), "0"],
        }
        for n in range(3)
    ]
    return wrapped({"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": points}})


async def send(collector: httpx.AsyncClient, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        reply = await collector.post("/v1/metrics", json=body)
        assert (reply.status_code, reply.json()) == (200, {})


async def series(viewer: httpx.AsyncClient, metric: str = "orders", **asked: Any) -> dict[str, Any]:
    (signal,) = (await viewer.get("/api/v1/signals", params={"metric": metric})).json()["items"]
    given: dict[str, Any] = {
        "from": utc(NOW - timedelta(seconds=10)),
        "to": utc(NOW + timedelta(seconds=60)),
        "step": 10,
    }
    reply = await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=given | asked)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_signals_are_listed_and_filtered(viewer: httpx.AsyncClient, collector: httpx.AsyncClient) -> None:
    await send(collector, sums([1.0]), sums([1.0], service="mail"), latency())
    every = (await viewer.get("/api/v1/signals")).json()
    assert every["total"] == 3
    shop = (await viewer.get("/api/v1/signals", params={"service": "shop", "limit": 1})).json()
    assert (shop["total"], len(shop["items"])) == (2, 1)
    (orders,) = (await viewer.get("/api/v1/signals", params={"service": "shop", "metric": "orders"})).json()["items"]
    assert (orders["kind"], orders["temporality"], orders["monotonic"]) == ("sum", "cumulative", True)
    assert orders["last_seen"] == NOW.isoformat().replace("+00:00", "Z")
    assert (await viewer.get(f"/api/v1/signals/{orders['id']}")).json() == orders


async def test_a_counter_reads_as_a_rate_that_resets_do_not_disturb(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    await send(collector, sums([10.0, 30.0, 60.0, 5.0]))
    found = await series(viewer)
    assert found["aggregation"] == "rate"
    assert [point["value"] for point in found["points"]] == [1.0, 2.0, 3.0, 0.5]
    whole = await series(viewer, aggregation="sum", step=60)
    assert sum(point["value"] for point in whole["points"]) == 65.0


async def test_an_increase_counts_from_the_point_before_the_range(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    await send(collector, sums([10.0, 30.0, 60.0]))
    late = await series(viewer, aggregation="sum", **{"from": utc(NOW + timedelta(seconds=10))})
    assert [point["value"] for point in late["points"]][-1] == 30.0


async def test_late_and_repeated_points_fall_into_place(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    whole = sums([10.0, 30.0, 60.0, 70.0])
    points = whole["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]["dataPoints"]
    second = sums([10.0])
    second["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]["dataPoints"] = [points[3], points[1]]
    await send(collector, second, sums([10.0]), whole)
    found = await series(viewer, aggregation="sum")
    assert [point["value"] for point in found["points"]] == [10.0, 20.0, 30.0, 10.0]


async def test_a_histogram_reads_as_quantiles(viewer: httpx.AsyncClient, collector: httpx.AsyncClient) -> None:
    await send(collector, latency())
    found = await series(viewer, "latency")
    assert found["aggregation"] == "p95"
    assert [round(point["value"], 6) for point in found["points"]] == [0.15, 0.15, 0.15]
    rates = await series(viewer, "latency", aggregation="rate")
    assert [point["value"] for point in rates["points"]] == [10.0, 10.0, 10.0]


async def test_slices_are_aligned_and_the_step_is_chosen_where_none_is_asked_for(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    await send(collector, sums([1.0]))
    (signal,) = (await viewer.get("/api/v1/signals")).json()["items"]
    found = (await viewer.get(f"/api/v1/signals/{signal['id']}/series")).json()
    assert found["step_seconds"] == 3600
    assert found["start"].endswith(":00:00Z")


@pytest.mark.parametrize("metric", ["orders", "latency"])
async def test_of_many_slices_those_are_answered_that_draw_the_same_line(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient, metric: str
) -> None:
    await send(collector, sums([1.0, 2.0, 3.0, 1000.0, 1001.0, 1002.0]), latency())
    whole = await series(viewer, metric)
    some = await series(viewer, metric, max_points=3)
    assert len(some["points"]) == 3
    assert [point for point in whole["points"] if point in some["points"]] == some["points"]
    assert (some["points"][0], some["points"][-1]) == (whole["points"][0], whole["points"][-1])
    assert max(point["value"] for point in some["points"]) == max(point["value"] for point in whole["points"])
    assert await series(viewer, metric, max_points=100) == whole


async def test_hours_before_the_minutes_that_are_kept_are_asked_for_by_the_hour(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient
) -> None:
    await send(collector, sums([1.0]))
    (signal,) = (await viewer.get("/api/v1/signals")).json()["items"]
    asked = {"from": utc(NOW - timedelta(days=91)), "to": utc(NOW - timedelta(days=90, hours=12))}
    reply = await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=asked | {"step": 60})
    assert reply.status_code == 422
    assert "multiples of an hour" in reply.json()["detail"]
    chosen = (await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=asked)).json()
    assert chosen["step_seconds"] % 3600 == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"step": 0},
        {"max_points": 2},
        {"max_points": 5001},
        {"step": "ten"},
        {"step": 1, "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
        {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00"},
        {"to": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-31T23:59:59Z"},
        {"from": "2000-01-01T00:00:00Z"},
        {"aggregation": "p42"},
        {"aggregation": "p95"},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    viewer: httpx.AsyncClient, collector: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    await send(collector, sums([1.0]))
    (signal,) = (await viewer.get("/api/v1/signals")).json()["items"]
    reply = await viewer.get(f"/api/v1/signals/{signal['id']}/series", params=asked)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("place", ["", "/series"])
async def test_an_unknown_signal_is_not_found(viewer: httpx.AsyncClient, place: str) -> None:
    reply = await viewer.get(f"/api/v1/signals/0190a8a0-0000-7000-8000-000000000000{place}")
    assert reply.status_code == 404
