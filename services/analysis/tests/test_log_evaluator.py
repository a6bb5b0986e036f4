"""Logs from outside: what their evaluation finds and tells, and what a restart, a fault and a late line change."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from plumbline_analysis import log_evaluator
from plumbline_analysis.logs.stream import QUIET
from plumbline_analysis.templates import service


async def test_templates_are_kept_with_what_is_known_of_them(log_world: Any) -> None:
    await log_world.log({"cart 7 paid": 2, "cart 8 paid": 1})
    await log_world.log({"cart 9 paid": 1}, log_world.now + timedelta(seconds=40))
    log_world.now += timedelta(minutes=1)
    await log_world.evaluate()
    templates = await log_world.templates()
    (template,) = templates.values()
    assert (template.template, template.count, template.service) == ("cart <*> paid", 4, "shop")
    assert (template.first_seen, template.last_seen) == (log_world.start, log_world.start + timedelta(seconds=40))
    assert template.examples == ["cart 7 paid"]
    (told,) = await log_world.told("log_template.discovered")
    assert (told["log_template"]["id"], told["log_template"]["revision"]) == (str(template.id), 1)
    await log_world.minutes(3)
    assert (await log_world.templates())["cart <*> paid"].id == template.id


async def test_templates_that_are_one_are_one_from_then_on(log_world: Any) -> None:
    colours = ["red", "blue", "green", "white"]
    for colour in colours[:3]:
        await log_world.log({f"lamp turned {colour}": 2})
    log_world.now += timedelta(minutes=1)
    await log_world.evaluate()
    parts = await log_world.templates()
    assert len(parts) == 3
    await log_world.log({"lamp turned white": 1})
    log_world.now += timedelta(minutes=1)
    await log_world.evaluate()
    (whole,) = (await log_world.templates()).values()
    assert (whole.template, whole.count, whole.first_seen) == ("lamp turned <*>", 7, log_world.start)
    removed = await log_world.told("log_template.removed")
    assert {each["log_template_id"] for each in removed} | {str(whole.id)} == {
        str(part.id) for part in parts.values()
    }
    assert {each["merged_into"] for each in removed} == {str(whole.id)}
    assert [each["log_template"]["template"] for each in await log_world.told("log_template.updated")] == [
        "lamp turned <*>"
    ]


async def test_ordinary_minutes_are_no_anomaly(log_world: Any) -> None:
    await log_world.learn()
    await log_world.minutes(20)
    assert await log_world.told("anomaly.detected") == []


async def test_a_new_template_is_an_anomaly_while_it_keeps_coming(log_world: Any) -> None:
    await log_world.learn()
    onset = log_world.now
    await log_world.minutes(2, **{"tank 7 burst": 4})
    (detected,) = await log_world.told("anomaly.detected")
    anomaly = detected["anomaly"]
    template = (await log_world.templates())["tank <*> burst"]
    assert anomaly["log"]["template_id"] == str(template.id)
    assert (anomaly["log"]["kind"], anomaly["log"]["template"]) == ("new", "tank <*> burst")
    assert anomaly["log"]["examples"] == ["tank 7 burst"] * 3
    assert anomaly["title"].startswith("“tank <*> burst” came 4 times; no line like it came in the ")
    assert (anomaly["service"], anomaly["value"], anomaly["direction"]) == ("shop", 4, "up")
    assert anomaly["onset"] == onset.isoformat().replace("+00:00", "Z")
    assert await log_world.told("anomaly.resolved") == []
    await log_world.minutes(1)
    (resolved,) = await log_world.told("anomaly.resolved")
    assert resolved["anomaly"]["id"] == anomaly["id"]
    assert resolved["anomaly"]["end"] == (onset + timedelta(minutes=2)).isoformat().replace("+00:00", "Z")


async def test_a_burst_tells_what_was_expected_and_ends(log_world: Any) -> None:
    await log_world.learn()
    await log_world.minutes(1, **{"door opened": 60})
    await log_world.minutes(2, **{"door opened": 200})
    await log_world.minutes(2)
    (anomaly,) = await log_world.detected("rate")
    assert anomaly["lower"] <= anomaly["expected"] <= anomaly["upper"] < anomaly["value"] == 60
    assert (anomaly["metric"], anomaly["aggregation"], anomaly["unit"]) == ("log.records", "count", "{record}")
    (updated,) = [
        each["anomaly"] for each in await log_world.told("anomaly.updated") if each["anomaly"]["id"] == anomaly["id"]
    ]
    assert (updated["value"], updated["onset"], updated["revision"]) == (200, anomaly["onset"], 2)
    assert "came 200 times" in updated["title"]
    resolved = {each["anomaly"]["id"]: each["anomaly"] for each in await log_world.told("anomaly.resolved")}
    assert resolved[anomaly["id"]]["value"] == 200


async def test_what_vanishes_is_told_in_seconds_of_silence(log_world: Any) -> None:
    await log_world.learn()
    since = log_world.now
    await log_world.minutes(3, **{"cart paid": 0})
    (anomaly,) = await log_world.detected("vanished")
    assert (anomaly["aggregation"], anomaly["unit"], anomaly["direction"]) == ("silence", "s", "down")
    assert anomaly["value"] % 60 == 0
    assert anomaly["onset"] == since.isoformat().replace("+00:00", "Z")
    await log_world.minutes(1)
    assert anomaly["id"] in {each["anomaly"]["id"] for each in await log_world.told("anomaly.resolved")}


async def test_a_service_that_falls_silent_is_one_anomaly_until_it_speaks(log_world: Any) -> None:
    await log_world.learn()
    since = log_world.now
    await log_world.silence(QUIET + 1)
    (detected,) = await log_world.told("anomaly.detected")
    assert detected["anomaly"]["log"]["template"] is None
    assert detected["anomaly"]["title"].startswith("nothing was logged for ")
    assert detected["anomaly"]["onset"] == since.isoformat().replace("+00:00", "Z")
    async with log_world.sessions() as session:
        assert (await session.execute(text("SELECT asleep FROM log_watches"))).scalar_one()
    await log_world.minutes(1)
    assert len(await log_world.told("anomaly.resolved")) == 1


async def test_a_late_line_counts_in_the_next_minute_and_a_later_one_for_its_template_only(log_world: Any) -> None:
    await log_world.learn()
    await log_world.log({"tank 7 burst": 1}, log_world.now - timedelta(seconds=30))
    await log_world.log({"pump 7 stuck": 1}, log_world.now - timedelta(minutes=10))
    await log_world.minutes(1)
    assert {"tank <*> burst", "pump <*> stuck"} <= set(await log_world.templates())
    (detected,) = await log_world.told("anomaly.detected")
    assert detected["anomaly"]["log"]["template"] == "tank <*> burst"


def essence(events: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Events without the ids that each process makes."""
    return [
        (
            kind,
            (data.get("anomaly") or {}).get("title"),
            (data.get("anomaly") or {}).get("end"),
            (data.get("log_template") or {}).get("template"),
            (data.get("log_template") or {}).get("count"),
        )
        for kind, data in events
    ]


@pytest.mark.parametrize("way", ["a restart each minute", "few lines at once", "a fault each minute"])
async def test_interrupted_is_as_uninterrupted(log_world: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    story: list[dict[str, int]] = [{"tank 7 burst": 4}, {"door opened": 70}, {}, {"cart paid": 0}, {}]

    async def told() -> list[Any]:
        log_world.random = np.random.default_rng(5)
        await log_world.learn()
        for more in story:
            await log_world.minutes(1, **more)
        return essence(await log_world.events())

    expected = await told()
    async with log_world.sessions.begin() as session:
        for table in ("log_streams", "log_watches", "log_templates", "log_lines", "anomalies", "outbox"):
            await session.execute(text(f"DELETE FROM {table}"))
    log_world.now = log_world.start
    evaluate = log_world.evaluate

    async def interrupted() -> None:
        if way.startswith("a fault"):
            with monkeypatch.context() as patch:

                async def fail(*_: Any) -> None:
                    raise ConnectionError("the database went away")

                patch.setattr(service.repository, "save_watch", fail)
                await evaluate()
        await evaluate()
        if way.startswith("a restart"):
            await log_world.restart()

    monkeypatch.setattr(log_world, "evaluate", interrupted)
    if way.startswith("few"):
        monkeypatch.setattr(log_evaluator, "AT_ONCE", 7)
    assert await told() == expected


async def test_a_state_that_cannot_be_read_is_learned_anew(log_world: Any, caplog: pytest.LogCaptureFixture) -> None:
    await log_world.learn()
    await log_world.minutes(1, **{"tank 7 burst": 4})
    before = await log_world.templates()
    async with log_world.sessions.begin() as session:
        await session.execute(text("UPDATE log_watches SET miner = '\\x00'"))
    await log_world.minutes(2)
    assert "the logs of shop are learned anew" in caplog.text
    after = await log_world.templates()
    assert set(after) == set(log_world.ordinary)
    assert not {each.id for each in before.values()} & {each.id for each in after.values()}
    removed = {each["log_template_id"] for each in await log_world.told("log_template.removed")}
    assert removed == {str(each.id) for each in before.values()}
    assert len(await log_world.told("anomaly.resolved")) == 1


async def test_one_service_that_cannot_be_evaluated_does_not_keep_the_others_from_it(
    log_world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await log_world.log({"a": 1}, of="poison")
    record = service.record

    async def fail(session: Any, pending: Any, *rest: Any) -> Any:
        if pending.service == "poison":
            raise ZeroDivisionError
        return await record(session, pending, *rest)

    monkeypatch.setattr(service, "record", fail)
    await log_world.minutes(1)
    assert set(await log_world.templates()) == set(log_world.ordinary)
    assert "the evaluation of the logs of poison failed" in caplog.text


async def test_a_service_that_logs_no_more_is_forgotten(log_world: Any) -> None:
    await log_world.learn()
    await log_world.silence(QUIET)
    log_world.now += timedelta(days=log_world.settings.retention_days)
    await log_world.evaluate()
    assert await log_world.templates() == {}
    assert len(await log_world.told("log_template.removed")) == len(log_world.ordinary)
    assert len(await log_world.told("anomaly.resolved")) == 1
    async with log_world.sessions() as session:
        for table in ("log_streams", "log_watches"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


async def test_a_process_that_lost_its_lease_writes_nothing(log_world: Any) -> None:
    await log_world.minutes(1)
    before = await log_world.templates()
    other = log_world.new_evaluator()
    await log_world.log({"stray line": 1})
    await other.round()
    assert await log_world.templates() == before


async def test_history_teaches_and_is_nobodys_alarm(log_world: Any) -> None:
    log_world.start = log_world.now + timedelta(hours=3)
    await log_world.minutes(40, evaluate=False)
    await log_world.minutes(1, evaluate=False, **{"tank 7 burst": 40})
    await log_world.minutes(5, evaluate=False)
    log_world.now = log_world.start
    await log_world.evaluate()
    assert await log_world.told("anomaly.detected") == []
    assert "tank <*> burst" in await log_world.templates()
