"""The evaluation as a whole, on a clock that the test turns: telemetry in, verdicts, anomalies and events out."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from plumbline_analysis.anomalies import repository as anomaly_repository
from plumbline_analysis.anomalies.schemas import AnomalySort
from plumbline_analysis.moments import micros
from plumbline_analysis.objectives import gather, repository
from plumbline_analysis.points import resolution, service
from plumbline_analysis.points.directory import Directory
from plumbline_analysis.settings import Settings
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Histogram, Kind, Layout, Temporality, Window
from plumbline_analysis.watched import service as watched
from plumbline_analysis.worker import Evaluator
from plumbline_common import db, telemetry
from plumbline_common.schemas import RequirementSnapshot

STEP = 2
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
REQUIREMENT = UUID("0190a8a0-0000-7000-8000-000000000001")


def latency_slo(**members: Any) -> dict[str, Any]:
    """p95 within 250 ms in 9 of 10 slices."""
    query = {"metric": "http.server.request.duration", "attributes": {"service.name": "shop"}, "aggregation": "p95"}
    return {
        "name": "latency",
        "indicator": {"thresholdMetric": {"metricSource": {"spec": query}}},
        "timeWindow": [{"duration": "2m"}],
        "objectives": [{"op": "lte", "value": 0.25, "target": 0.9}],
    } | members


def ratio_slo(**members: Any) -> dict[str, Any]:
    """99 % of requests without a server error."""

    def requests(**attributes: str) -> dict[str, Any]:
        return {
            "metricSource": {
                "spec": {
                    "metric": "http.server.request.duration",
                    "attributes": {"service.name": "shop"} | attributes,
                }
            }
        }

    return {
        "name": "errors",
        "indicator": {"ratioMetric": {"bad": requests(status="500"), "total": requests()}},
        "timeWindow": [{"duration": "2m"}],
        "objectives": [{"target": 0.9}],
    } | members


def requirement(*slos: dict[str, Any], **members: Any) -> RequirementSnapshot:
    given: dict[str, Any] = {
        "id": REQUIREMENT,
        "key": "REQ-1",
        "revision": 1,
        "title": "The shop answers quickly",
        "description": "",
        "statement": "",
        "rationale": "",
        "type": "latency",
        "priority": "must",
        "owner_team": "payments",
        "service": "shop",
        "slos": list(slos),
        "verification_method": "",
        "labels": {},
        "fingerprint": "f",
        "status": "active",
        "created_at": START,
        "created_by": "alice",
        "updated_at": START,
        "updated_by": "alice",
    }
    return RequirementSnapshot.model_validate(given | members)


class World:
    """A shop with two workers, the clock of its day, and the evaluator that watches it."""

    def __init__(self, sessions: db.Sessions, read_sessions: db.Sessions, settings: Settings) -> None:
        self.sessions, self.read_sessions, self.settings = sessions, read_sessions, settings
        self.now = START
        self.evaluator = Evaluator(sessions, read_sessions, settings, lambda: self.now)
        self.directory = Directory()
        self.random = np.random.default_rng(5)
        self.counts: dict[tuple[str, str], np.ndarray] = {}

    async def keep(self, snapshot: RequirementSnapshot) -> None:
        async with self.sessions.begin() as session:
            await watched.keep(session, snapshot)

    async def forget(self, revision: int = 9) -> None:
        async with self.sessions.begin() as session:
            await watched.forget(session, REQUIREMENT, revision)

    def export(self, seconds: float, errors: float, requests: int) -> Batch:
        """What the workers export after one more slice in which they took `seconds` for most requests."""
        found = Batch()
        at = micros(self.now)
        for worker in ("1", "2"):
            for status in ("200", "500"):
                share = errors if status == "500" else 1 - errors
                taken = seconds * self.random.lognormal(0, 0.3, self.random.poisson(requests * share))
                row = self.counts.setdefault((worker, status), np.zeros(len(BOUNDS) + 1, np.int64))
                row += np.bincount(np.searchsorted(BOUNDS, taken), minlength=len(BOUNDS) + 1)
                point = Histogram(
                    int(row.sum()), 1.0, float("nan"), float("nan"), Layout(BOUNDS), tuple(row.tolist())
                )
                head = Head(
                    "otlp",
                    "http.server.request.duration",
                    "s",
                    Kind.HISTOGRAM,
                    Temporality.CUMULATIVE,
                    True,
                    "",
                    (("service.instance.id", worker), ("service.name", "shop")),
                )
                keys = [(("status", status),)]
                start, time = (np.array([each], np.uint64) for each in (micros(START) * 1000 - 10**9, at * 1000))
                batch.add(found, EVER, head, dict, list(keys), start, time, [point])
        return found

    async def send(self, telemetry: Batch) -> None:
        async with self.sessions.begin() as session:
            await service.store(session, resolution.resolve(telemetry, self.directory), self.directory)

    async def live(
        self, slices: int, seconds: float = 0.02, errors: float = 0.0, requests: int = 40, evaluate: bool = True
    ) -> None:
        """Let time pass, slice by slice."""
        for _ in range(slices):
            self.now += timedelta(seconds=STEP)
            if requests:
                await self.send(self.export(seconds, errors, requests))
            if evaluate:
                await self.evaluator.round()

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        async with self.sessions() as session:
            rows = await session.execute(text("SELECT subject, data FROM outbox ORDER BY seq"))
            return [(row.subject.removeprefix("analysis.").removesuffix(".v1"), json.loads(row.data)) for row in rows]

    async def verdicts(self) -> list[str]:
        """The states in the order in which they were told."""
        return [data["verdict"]["state"] for subject, data in await self.events() if subject == "verdict.changed"]

    async def current(self) -> dict[str, Any] | None:
        async with self.sessions() as session:
            found = (await session.execute(text("SELECT verdict FROM current_verdicts"))).scalar_one_or_none()
            return found and dict(found)

    async def anomalies(self) -> list[Any]:
        async with self.sessions() as session:
            found, _ = await anomaly_repository.page(session, None, None, None, AnomalySort.OLDEST, 0, 100)
            return list(found)


EVER = Window(0, 2**62, 0, 0)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """The spans that have ended, in that order."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    return lambda: list(exporter.get_finished_spans())


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "evaluation_interval_seconds": STEP,
            "settle_seconds": 0.0,
            "lateness_seconds": 10.0,
            "backfill_seconds": 600.0,
            "stale_seconds": 20.0,
            "short_floor_seconds": 6.0,
            "long_floor_seconds": 20.0,
        }
    )


@pytest.fixture
def world(sessions: db.Sessions, read_sessions: db.Sessions, quick: Settings) -> World:
    return World(sessions, read_sessions, quick)


async def test_a_latency_fault_becomes_an_anomaly_and_a_verdict_and_both_recover(world: World) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(25)
    assert await world.verdicts() == ["NO_DATA", "MET"]
    assert await world.anomalies() == []

    await world.live(8, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert (anomaly.state, anomaly.direction, anomaly.severity) == ("open", "up", "critical")
    assert anomaly.onset == START + timedelta(seconds=26 * STEP)
    assert anomaly.value > 0.4
    assert anomaly.lower <= anomaly.expected <= anomaly.upper < 0.2
    assert anomaly.title.startswith("Latency (p95 of http.server.request.duration) of shop rose to ")
    assert (anomaly.requirement_id, anomaly.requirement_revision) == (REQUIREMENT, 1)
    assert (await world.verdicts())[2] in ("AT_RISK", "VIOLATED")
    current = await world.current()
    assert current is not None
    assert current["anomalies"] == [str(anomaly.id)]

    await world.live(75)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    assert START + timedelta(seconds=33 * STEP) <= anomaly.end <= START + timedelta(seconds=35 * STEP)
    assert (await world.verdicts())[-1] == "MET"
    subjects = [subject for subject, _ in await world.events()]
    assert subjects[0] == "verdict.changed"
    for told in ("anomaly.detected", "anomaly.resolved", "objective.recovered"):
        assert subjects.count(told) == 1
    assert {"objective.burning", "objective.exhausted"} & set(subjects)


async def test_errors_burn_the_budget_and_exhaust_it(world: World) -> None:
    await world.keep(requirement(ratio_slo()))
    await world.live(55)
    await world.live(4, errors=0.95)
    states = await world.verdicts()
    assert states == ["MET", "AT_RISK"]
    await world.live(6, errors=0.95)
    assert (await world.verdicts())[-1] == "VIOLATED"
    evidence = (await world.current() or {})["objectives"][0]
    assert evidence["budget_remaining"] <= 0
    assert evidence["good"] < 0.9 * evidence["total"]
    told = [(subject, data) for subject, data in await world.events() if subject.startswith("objective.")]
    assert [subject for subject, _ in told] == ["objective.burning", "objective.exhausted"]
    assert told[1][1]["requirement_id"] == str(REQUIREMENT)


async def test_the_evidence_counts_every_request_once(world: World) -> None:
    await world.keep(requirement(ratio_slo()))
    await world.live(40, errors=0.02)
    evidence = (await world.current() or {})["objectives"][0]
    total = sum(int(row.sum()) for row in world.counts.values())
    bad = sum(int(row.sum()) for (_, status), row in world.counts.items() if status == "500")
    assert evidence["total"] == total
    assert evidence["good"] == total - bad


async def test_late_and_repeated_telemetry_is_counted_once(world: World) -> None:
    await world.keep(requirement(ratio_slo()))
    await world.live(15)
    held = []
    for _ in range(3):
        world.now += timedelta(seconds=STEP)
        held.append(world.export(0.02, 0.5, 40))
        await world.evaluator.round()
    for each in (*reversed(held), *held):
        await world.send(each)
    await world.live(5)
    evidence = (await world.current() or {})["objectives"][0]
    total = sum(int(row.sum()) for row in world.counts.values())
    bad = sum(int(row.sum()) for (_, status), row in world.counts.items() if status == "500")
    assert (evidence["total"], evidence["total"] - evidence["good"]) == (total, bad)


async def test_a_restart_goes_on_where_the_last_process_stopped(world: World) -> None:
    await world.keep(requirement(latency_slo(), ratio_slo()))
    await world.live(20)
    await world.live(3, seconds=0.6)
    await world.evaluator.release()
    world.evaluator = Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    world.directory = Directory()
    await world.live(3, seconds=0.6)
    assert len(await world.anomalies()) == 1
    evidence = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    assert evidence["errors"]["total"] == sum(int(row.sum()) for row in world.counts.values())


async def test_time_without_an_evaluator_is_made_up_for(world: World) -> None:
    await world.keep(requirement(latency_slo(), ratio_slo()))
    await world.live(20)
    await world.live(10, evaluate=False)
    await world.live(6, seconds=0.6, evaluate=False)
    await world.evaluator.round()
    (anomaly,) = await world.anomalies()
    assert anomaly.onset == START + timedelta(seconds=31 * STEP)
    evidence = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    assert evidence["errors"]["total"] == sum(int(row.sum()) for row in world.counts.values())


async def test_only_one_process_evaluates_at_a_time(world: World) -> None:
    other = Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    await world.keep(requirement(latency_slo()))
    await world.live(10)
    before = await world.current()
    world.now += timedelta(seconds=STEP)
    await other.round()
    assert await world.current() == before
    await world.evaluator.release()
    await other.round()
    assert await world.current() != before


async def test_a_process_that_lost_its_lease_writes_nothing(world: World) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(10)
    async with world.sessions.begin() as session:
        await session.execute(text("UPDATE evaluator_lease SET token = token + 1"))
    before = await world.current()
    world.now += timedelta(seconds=STEP)
    async with world.read_sessions() as session:
        (row,) = await repository.in_force(session)
    await world.evaluator.evaluate(row, token=1)
    assert await world.current() == before


async def test_a_new_requirement_takes_in_history_without_raising_old_alarms(world: World) -> None:
    await world.live(30, evaluate=False)
    await world.live(5, seconds=0.6, evaluate=False)
    await world.live(20, evaluate=False)
    await world.keep(requirement(latency_slo()))
    await world.live(1)
    assert await world.anomalies() == []
    evidence = (await world.current() or {})["objectives"][0]
    assert evidence["total"] == 56
    assert evidence["good"] == 51
    await world.live(3, seconds=0.6)
    assert len(await world.anomalies()) == 1


async def test_history_is_taken_in_piece_by_piece(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_SLICES", 10)
    await world.live(25, evaluate=False)
    await world.keep(requirement(latency_slo()))
    rounds = 0
    while await world.evaluator.round():
        rounds += 1
        assert await world.current() is None
    assert rounds > 3
    assert (await world.current() or {})["objectives"][0]["total"] == 25


async def test_without_telemetry_there_is_no_verdict_but_no_data(world: World) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(3, requests=0)
    assert await world.verdicts() == ["NO_DATA"]
    assert "no data" in (await world.current() or {})["reason"]


async def test_telemetry_that_stops_becomes_no_data_after_a_while(world: World) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(20)
    await world.live(9, requests=0)
    assert (await world.verdicts())[-1] == "MET"
    await world.live(6, requests=0)
    assert (await world.verdicts())[-1] == "NO_DATA"


async def test_a_new_revision_has_a_verdict_of_its_own_and_keeps_what_was_counted(world: World) -> None:
    await world.keep(requirement(ratio_slo()))
    await world.live(20)
    stricter = ratio_slo(objectives=[{"target": 0.95}])
    await world.keep(requirement(stricter, revision=2, updated_at=world.now))
    await world.live(2)
    current = await world.current()
    assert current is not None
    assert (current["revision"], current["state"], current["previous"]) == (2, "MET", "MET")
    assert current["objectives"][0]["total"] == sum(int(row.sum()) for row in world.counts.values())
    assert await world.verdicts() == ["MET", "MET"]


async def test_another_query_counts_anew_and_ends_the_old_anomaly(world: World) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(25)
    await world.live(3, seconds=0.6)
    changed = latency_slo()
    changed["indicator"]["thresholdMetric"]["metricSource"]["spec"]["aggregation"] = "p50"
    await world.keep(requirement(changed, revision=2, updated_at=world.now))
    await world.live(1)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    async with world.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM detectors"))).scalar_one() == 1


@pytest.mark.parametrize("how", ["retired", "deleted"])
async def test_a_requirement_that_is_no_longer_in_force_is_let_go(world: World, how: str) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(25)
    await world.live(3, seconds=0.6)
    if how == "retired":
        await world.keep(requirement(latency_slo(), revision=2, status="retired", updated_at=world.now))
    else:
        await world.forget()
    await world.live(2, seconds=0.6)
    (anomaly,) = await world.anomalies()
    assert anomaly.state == "resolved"
    assert await world.current() is None
    async with world.sessions() as session:
        for table in ("objectives", "objective_slices", "detectors"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_time_slices_are_judged_when_they_are_over(world: World) -> None:
    objective = {"target": 0.5, "timeSliceTarget": 0.9, "timeSliceWindow": "10s"}
    threshold = latency_slo(budgetingMethod="Timeslices", objectives=[objective | {"op": "lte", "value": 0.25}])
    ratio = ratio_slo(budgetingMethod="Timeslices", objectives=[objective])
    await world.keep(requirement(threshold, ratio))
    await world.live(20)
    await world.live(5, seconds=0.6, errors=0.5)
    await world.live(3)
    found = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    for slo in ("latency", "errors"):
        assert (found[slo]["good"], found[slo]["total"]) == (4, 5)


async def test_one_requirement_that_fails_does_not_keep_the_others_from_their_verdict(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.keep(requirement(latency_slo()))
    broken = UUID("0190a8a0-0000-7000-8000-000000000000")
    await world.keep(requirement(latency_slo(), id=broken))
    async with world.sessions.begin() as session:
        await session.execute(
            text("UPDATE watched_requirements SET slos = '[{\"name\": 1}]' WHERE id = :id"), {"id": broken}
        )
    await world.live(2)
    assert await world.current() is not None
    assert "the evaluation of REQ-1 failed" in caplog.text


async def test_what_no_window_reaches_is_pruned_without_changing_a_verdict(world: World) -> None:
    await world.keep(requirement(ratio_slo()))
    await world.live(30, errors=0.02)
    before = (await world.current() or {})["objectives"]
    world.now += timedelta(hours=1, seconds=90)
    await world.evaluator.prune()
    async with world.sessions() as session:
        left = (await session.execute(text("SELECT count(*) FROM objective_slices"))).scalar_one()
    assert 0 < left < 30
    world.now -= timedelta(hours=1, seconds=90)
    await world.live(1, requests=0)
    after = (await world.current() or {})["objectives"]
    assert after[0]["total"] <= before[0]["total"]


async def test_an_evaluation_that_finds_something_begins_a_trace_of_its_own(
    world: World, spans: Callable[[], list[Any]]
) -> None:
    await world.keep(requirement(latency_slo()))
    await world.live(4)
    assert await world.verdicts() == ["NO_DATA"] or await world.verdicts() == ["MET"]
    found = [span for span in spans() if span.name == "evaluate requirement"]
    assert len(found) == len(await world.verdicts())
    assert found[0].parent is None
    assert found[0].attributes["plumbline.requirement.id"] == str(REQUIREMENT)
    async with world.sessions() as session:
        carried = (await session.execute(text("SELECT trace FROM outbox ORDER BY seq LIMIT 1"))).scalar_one()
    assert f"{found[0].context.trace_id:032x}" in carried
