"""The evaluation from outside: which process does it, what a restart and a fault change, what it traces."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from plumbline_analysis import evaluator
from plumbline_analysis.evaluator import Evaluator
from plumbline_analysis.objectives import judge, repository
from plumbline_analysis.points.directory import Directory
from plumbline_common import telemetry


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """The spans that have ended, in that order."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    return lambda: list(exporter.get_finished_spans())


async def test_a_restart_goes_on_where_the_last_process_stopped(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo(), world.ratio_slo()))
    await world.live(20)
    await world.live(3, seconds=0.6)
    await world.evaluator.release()
    world.evaluator = Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    world.directory = Directory()
    await world.live(3, seconds=0.6)
    assert len(await world.anomalies()) == 1
    evidence = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    assert evidence["errors"]["total"] == sum(int(row.sum()) for row in world.counts.values())


async def test_time_without_an_evaluator_is_made_up_for(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo(), world.ratio_slo()))
    await world.live(20)
    await world.live(10, evaluate=False)
    await world.live(6, seconds=0.6, evaluate=False)
    await world.evaluator.round()
    (anomaly,) = await world.anomalies()
    assert anomaly.onset == world.start + timedelta(seconds=31 * world.step)
    evidence = {each["slo"]: each for each in (await world.current() or {})["objectives"]}
    assert evidence["errors"]["total"] == sum(int(row.sum()) for row in world.counts.values())


async def test_only_one_process_evaluates_at_a_time(world: Any) -> None:
    other = Evaluator(world.sessions, world.read_sessions, world.settings, lambda: world.now)
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(10)
    before = await world.current()
    world.now += timedelta(seconds=world.step)
    await other.round()
    assert await world.current() == before
    await world.evaluator.release()
    await other.round()
    assert await world.current() != before


async def test_a_process_that_lost_its_lease_writes_nothing(world: Any) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(10)
    async with world.sessions.begin() as session:
        await session.execute(text("UPDATE evaluator_lease SET token = token + 1"))
    before = await world.current()
    world.now += timedelta(seconds=world.step)
    async with world.read_sessions() as session:
        (row,) = await repository.in_force(session)
    await world.evaluator.evaluate([row], token=1)
    assert await world.current() == before


async def test_one_requirement_that_cannot_be_read_does_not_keep_the_others_from_their_verdict(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    broken = UUID("0190a8a0-0000-7000-8000-000000000000")
    await world.keep(world.requirement(world.latency_slo(), id=broken, key="REQ-0"))
    async with world.sessions.begin() as session:
        await session.execute(
            text("UPDATE watched_requirements SET slos = '[{\"name\": 1}]' WHERE id = :id"), {"id": broken}
        )
    await world.live(2)
    assert await world.current() is not None
    assert "the SLOs of REQ-0 can't be read" in caplog.text


async def test_where_an_evaluation_fails_each_requirement_is_tried_alone(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poison = UUID("0190a8a0-0000-7000-8000-000000000000")

    def judge_or_fail(asked: Any, watches: Any) -> Any:
        if any(request.part.slo.name == "poison" for request in asked):
            raise ZeroDivisionError
        return judge.judge(asked, watches)

    monkeypatch.setattr(evaluator, "judge", SimpleNamespace(judge=judge_or_fail))
    await world.keep(world.requirement(world.latency_slo(name="poison"), id=poison, key="REQ-0"))
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(3)
    current = await world.current()
    assert current is not None
    assert current["requirement_id"] == str(world.requirement_id)
    assert "the evaluation of REQ-0 failed" in caplog.text


async def test_an_evaluation_that_finds_something_begins_a_trace_of_its_own(
    world: Any, spans: Callable[[], list[Any]]
) -> None:
    await world.keep(world.requirement(world.latency_slo()))
    await world.live(4)
    assert await world.verdicts() == ["NO_DATA"] or await world.verdicts() == ["MET"]
    found = [span for span in spans() if span.name == "evaluate requirement"]
    assert len(found) == len(await world.verdicts())
    assert found[0].parent is None
    assert found[0].attributes["plumbline.requirement.id"] == str(world.requirement_id)
    async with world.sessions() as session:
        carried = (await session.execute(text("SELECT trace FROM outbox ORDER BY seq LIMIT 1"))).scalar_one()
    assert f"{found[0].context.trace_id:032x}" in carried


async def test_what_no_window_reaches_is_pruned_without_changing_a_verdict(world: Any) -> None:
    await world.keep(world.requirement(world.ratio_slo()))
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
