"""Incidents over time: anomalies as evaluations write them, grouped on the real database."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from plumbline_analysis.incidents import composing


async def told(shop: Any) -> list[tuple[str, str]]:
    """What was told of incidents, and of which change."""
    async with shop.sessions() as session:
        rows = await session.execute(
            text("SELECT subject, data FROM outbox WHERE subject LIKE 'analysis.incident.%' ORDER BY seq")
        )
        return [(row.subject.split(".")[2], json.loads(row.data).get("change", "")) for row in rows]


async def test_anomalies_that_belong_together_are_one_incident(shop: Any) -> None:
    await shop.calls(("web", "cart"), ("cart", "db"))
    await shop.deploy("db", "18.2", 2)
    database = await shop.depart("db", 10, peak_score=8.0, severity="critical")
    await shop.depart("cart", 10.5)
    await shop.depart("web", 11)
    await shop.depart("mail", 11)
    await shop.pass_to(12)
    first, second = await shop.incidents()
    assert (first.services, first.severity, first.anomaly_count) == (["cart", "db", "web"], "critical", 3)
    assert first.title == "Latency of db rose to 612 ms; with it 2 more anomalies of cart and web"
    assert [each["service"] for each in first.origins] == ["db", "cart", "web"]
    assert first.origins[0]["anomaly_id"] == str(database)
    reasons = {each["kind"]: each["text"] for each in first.origins[0]["reasons"]}
    assert reasons == {
        "onset": "nothing of the incident began earlier",
        "dependents": "all of the other services depend on it",
        "strength": "it departed 8.0 times as far as the threshold",
        "deployment": "18.2 was deployed 8 min before",
    }
    assert (second.services, second.title) == (["mail"], "Latency of mail rose to 612 ms")
    assert await told(shop) == [("opened", ""), ("opened", "")]


async def test_a_round_without_news_tells_nothing(shop: Any) -> None:
    anomaly = await shop.depart("web", 10)
    await shop.pass_to(11)
    await shop.pass_to(12)
    await shop.change(anomaly, peak_score=2.5)
    await shop.pass_to(13)
    assert await told(shop) == [("opened", "")]
    await shop.change(anomaly, severity="critical")
    await shop.pass_to(14)
    assert await told(shop) == [("opened", ""), ("updated", "anomalies")]
    assert (await shop.incident()).severity == "critical"


async def test_an_incident_ends_when_all_has_been_over_for_a_while_and_comes_back_as_itself(shop: Any) -> None:
    first = await shop.depart("web", 10, signal=1)
    await shop.pass_to(11)
    await shop.end(first, 12)
    await shop.pass_to(21)
    assert (await shop.incident()).state == "open"
    await shop.pass_to(22)
    over = await shop.incident()
    assert (over.state, over.resolved_at, over.resolved_by) == ("resolved", shop.at(22), None)
    again = await shop.depart("web", 50, signal=1)
    await shop.pass_to(51)
    back = await shop.incident()
    assert (back.id, back.state, back.resolved_at, back.anomaly_count) == (over.id, "open", None, 2)
    await shop.end(again, 52)
    await shop.pass_to(62)
    await shop.depart("web", 93, signal=1)
    await shop.pass_to(94)
    assert [each.state for each in await shop.incidents()] == ["resolved", "open"]
    assert await told(shop) == [
        ("opened", ""),
        ("updated", "anomalies"),
        ("closed", ""),
        ("updated", "reopened"),
        ("updated", "anomalies"),
        ("closed", ""),
        ("opened", ""),
    ]


async def test_a_series_that_flaps_every_few_minutes_is_one_incident(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "MOST_ANOMALIES", 5)
    for minute in range(0, 44, 4):
        anomaly = await shop.depart("web", minute, signal=1)
        await shop.pass_to(minute + 1)
        await shop.end(anomaly, minute + 2)
        await shop.pass_to(minute + 3)
    flapping = await shop.incident()
    assert (flapping.state, flapping.anomaly_count, len(flapping.anomalies)) == ("open", 11, 5)
    assert [kind for kind, _ in await told(shop)].count("opened") == 1
    assert [kind for kind, _ in await told(shop)].count("closed") == 0


async def test_a_late_anomaly_or_edge_merges_the_younger_into_the_older(shop: Any) -> None:
    await shop.calls(("web", "cart"), ("cart", "db"))
    await shop.depart("web", 10)
    await shop.pass_to(11)
    await shop.depart("db", 11)
    await shop.pass_to(12)
    await shop.depart("mail", 12)
    await shop.pass_to(13)
    older, younger, _ = await shop.incidents()
    await shop.depart("cart", 12)
    await shop.pass_to(14)
    merged, _ = await shop.incidents()
    assert (merged.id, merged.services) == (older.id, ["cart", "db", "web"])
    await shop.calls(("cart", "mail"))
    await shop.pass_to(15)
    assert (await shop.incident()).services == ["cart", "db", "mail", "web"]
    async with shop.sessions() as session:
        gone = await session.execute(
            text("SELECT state, merged_into FROM incidents WHERE id = :id"), {"id": younger.id}
        )
        assert gone.one() == ("merged", older.id)
    assert (await told(shop))[3:] == [("closed", ""), ("updated", "merged")] * 2


async def test_an_incident_of_nothing_but_false_positives_is_over(shop: Any) -> None:
    one, other = await shop.depart("web", 10), await shop.depart("web", 10)
    await shop.pass_to(11)
    await shop.change(one, state="false_positive")
    await shop.pass_to(12)
    assert ((await shop.incident()).state, (await shop.incident()).anomaly_count) == ("open", 1)
    await shop.change(other, state="false_positive")
    await shop.pass_to(13)
    assert (await shop.incident()).state == "resolved"
    await shop.depart("web", 14, state="false_positive")
    await shop.pass_to(15)
    assert (await shop.incident()).anomaly_count == 2


async def test_who_does_not_hold_the_lease_groups_nothing(shop: Any) -> None:
    await shop.depart("web", 10)
    assert await shop.leader.claim() is not None
    async with shop.sessions.begin() as session:
        await session.execute(text("UPDATE evaluator_lease SET token = token + 1, holder = gen_random_uuid()"))
    await shop.pass_to(11)
    assert await shop.incidents() == []


async def test_what_a_round_that_failed_left_is_grouped_by_the_next(shop: Any, monkeypatch: Any) -> None:
    await shop.depart("web", 10)
    with monkeypatch.context() as patch:
        patch.setattr("plumbline_analysis.incidents.composing.compose", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await shop.pass_to(11)
    assert await shop.incidents() == []
    await shop.pass_to(12)
    assert (await shop.incident()).services == ["web"]
    assert await told(shop) == [("opened", "")]
