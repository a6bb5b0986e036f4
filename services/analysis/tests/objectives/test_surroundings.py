"""What else happened when an anomaly began."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from plumbline_analysis.deployments import repository as deployments
from plumbline_analysis.moments import micros
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality, Window
from plumbline_common import db

EVER = Window(0, 2**62, 0, 0)


def gauge(world: Any, metric: str, value: float, unit: str = "1", service: str = "shop") -> Batch:
    """One point of a gauge at the world's time."""
    found = Batch()
    head = Head("otlp", metric, unit, Kind.GAUGE, Temporality.NONE, False, "", (("service.name", service),))
    time = np.array([micros(world.now) * 1000], np.uint64)
    batch.add(found, EVER, head, dict, [()], np.zeros(1, np.uint64), time, np.array([value]))
    return found


async def live(world: Any, slices: int, cpu: float, disk: float = 0.5, **how: Any) -> None:
    """A shop whose latency, CPU and disk are exported, and another service whose CPU moves with it."""
    for _ in range(slices):
        world.now += timedelta(seconds=world.step)
        await world.send(world.export(how.get("seconds", 0.02), 0.0, 40))
        for metric, value, service in (
            ("process.cpu.utilization", cpu, "shop"),
            ("disk.utilization", disk, "shop"),
            ("process.cpu.utilization", cpu, "warehouse"),
        ):
            await world.send(gauge(world, metric, value + 0.01 * (world.now.second % 3), service=service))
        await world.evaluator.round()


async def test_an_anomaly_names_what_else_of_its_service_moved_and_who_saw_it(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await live(world, 70, cpu=0.2)
    none: dict[str, Any] = dict.fromkeys(("environment", "url", "external_id"))
    async with world.sessions.begin() as session:
        for version, minutes in (("2.3.0", 61), ("2.3.1", 2)):
            await deployments.add(
                session, id=db.new_id(), service="shop", version=version,
                deployed_at=world.now - timedelta(minutes=minutes),
                description="", recorded_at=world.now, recorded_by="pipeline", **none,
            )  # fmt: skip
    await live(world, 5, cpu=0.9, seconds=0.6)
    (anomaly,) = await world.anomalies()
    explanation = anomaly.explanation
    assert [(each["metric"], each["aggregation"]) for each in explanation["moved"]] == [
        ("process.cpu.utilization", "mean")
    ]
    assert explanation["moved"][0]["before"] < 0.25 < 0.85 < explanation["moved"][0]["after"]
    assert {"departure", "novelty"} <= {each["member"] for each in explanation["members"]}
    assert sum(each["share"] for each in explanation["members"]) == pytest.approx(1)
    assert "it passed the objective's threshold" in explanation["sentence"]
    assert "mean of process.cpu.utilization rose from 2" in explanation["sentence"]
    assert [each["version"] for each in explanation["deployments"]] == ["2.3.1"]
    assert "Before it shop 2.3.1 was deployed (2 min earlier)." in explanation["sentence"]
    told = [data for subject, data in await world.events() if subject == "anomaly.detected"]
    assert told[0]["anomaly"]["explanation"]["moved"] == explanation["moved"]

    # What moved is told anew with the end: the disk was full only later.
    await live(world, 20, cpu=0.9, disk=0.99, seconds=0.6)
    await live(world, 5, cpu=0.2)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    assert {each["metric"] for each in anomaly.explanation["moved"]} == {
        "process.cpu.utilization",
        "disk.utilization",
    }


async def test_a_service_of_too_many_points_is_explained_without_what_moved(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await live(world, 25, cpu=0.2)
    monkeypatch.setattr("plumbline_analysis.objectives.surroundings.reading.MAX_POINTS", 10)
    await live(world, 4, cpu=0.9, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert anomaly.explanation["moved"] == []
    assert anomaly.explanation["sentence"].startswith(anomaly.title)


async def test_only_whole_metrics_are_looked_at(world: Any) -> None:
    await live(world, 1, cpu=0.2)
    start = world.now - timedelta(minutes=1)
    async with world.sessions() as session:
        every = await signals.sending(session, "shop", start, world.now, 100)
        some = await signals.sending(session, "shop", start, world.now, 3)
        none = await signals.sending(session, "shop", world.now, world.now + timedelta(minutes=1), 100)
    assert {metric: len(found) for metric, found in every.items()} == {
        "disk.utilization": 1,
        "http.server.request.duration": 4,
        "process.cpu.utilization": 1,
    }
    assert list(some) == ["disk.utilization"]
    assert none == {}
