from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.notifications import rules
from plumbline_analysis.notifications.alerts import Alert
from plumbline_analysis.notifications.rules import Pace
from plumbline_analysis.notifications.schemas import Matchers, TargetContent
from plumbline_common.schemas import Severity

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PACE = Pace(timedelta(seconds=30), timedelta(minutes=5), timedelta(hours=4))


def alert(**members: Any) -> Alert:
    given: dict[str, Any] = {
        "fingerprint": "0" * 16,
        "event": "incident.opened",
        "firing": True,
        "severity": Severity.WARNING,
        "labels": {"alertname": "PlumblineIncident", "service": "shop"},
        "annotations": {"summary": "Latency of shop rose"},
        "starts_at": NOW,
        "ends_at": None,
        "path": "/api/v1/incidents/1",
        "services": ["shop"],
        "teams": ["web"],
        "requirement_ids": [UUID(int=1)],
        "named": [],
        "data": {},
    }
    return Alert(**given | members)


def target(**members: Any) -> TargetContent:
    return TargetContent(**{"name": "pager", "url": "https://pager.example.org/hook"} | members)


@dataclass(frozen=True)
class Row:
    firing: bool = True
    version: int = 1
    told_version: int = 0
    told_firing: bool = False


# --- Routing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "hears"),
    [
        ({}, True),
        ({"services": ["cart", "shop"]}, True),
        ({"services": ["cart"]}, False),
        ({"teams": ["web"], "severities": ["warning"]}, True),
        ({"teams": ["web"], "severities": ["critical"]}, False),
        ({"requirement_ids": [UUID(int=2)]}, False),
        ({"only_named": True}, False),
    ],
)
def test_filters_choose_and_empty_ones_let_all_through(asked: dict[str, Any], hears: bool) -> None:
    assert rules.is_routed(alert(), target(**asked)) is hears


def test_whom_an_alert_policy_names_hears_of_it_whosever_it_is() -> None:
    named = alert(named=["pager"])
    assert rules.is_routed(named, target(services=["cart"]))
    assert rules.is_routed(named, target(only_named=True))
    assert not rules.is_routed(named, target(severities=["critical"]))
    assert not rules.is_routed(named, target(name="chat", only_named=True))


def test_an_end_is_news_only_to_those_who_want_it() -> None:
    over = alert(event="incident.closed", firing=False)
    assert rules.is_news(over, target())
    assert not rules.is_news(over, target(send_resolved=False))
    assert not rules.is_news(over, target(events=["incident.opened"]))
    assert not rules.is_news(alert(event="incident.updated"), target())


def test_an_incident_that_comes_to_fit_begins_then() -> None:
    pager = target(severities=["critical"])
    assert not rules.begins(alert(), pager)
    graver = alert(event="incident.updated", severity=Severity.CRITICAL)
    assert rules.begins(graver, pager)
    assert not rules.begins(graver.model_copy(update={"firing": False}), pager)
    assert not rules.begins(graver, target(events=["incident.closed"]))
    assert not rules.begins(alert(event="verdict.changed"), target())


# --- Grouping -------------------------------------------------------------------------------------------

labels = st.dictionaries(st.sampled_from(["service", "team", "severity", "slo"]), st.text(max_size=5))


@given(labels, st.lists(st.sampled_from(["service", "team", "slo"])))
def test_alerts_are_of_one_group_just_when_they_agree_in_its_labels(one: dict[str, str], group_by: list[str]) -> None:
    mine = rules.group_labels(one, group_by)
    assert set(mine) == set(group_by)
    other = one | {"severity": "another"}
    assert rules.group_key(rules.group_labels(other, group_by)) == rules.group_key(mine)
    for name in group_by:
        apart = rules.group_labels(one | {name: mine[name] + "x"}, group_by)
        assert rules.group_key(apart) != rules.group_key(mine)


def test_a_key_is_written_as_alertmanager_writes_it() -> None:
    assert rules.group_key({"team": "web", "service": 'a"b'}) == '{}:{service="a\\"b", team="web"}'
    assert rules.group_key(rules.group_labels({"b": "2", "a": "1"}, ["..."])) == '{}:{a="1", b="2"}'
    assert rules.group_key({}) == "{}:{}"


def test_a_new_group_waits_and_one_that_was_told_keeps_its_interval() -> None:
    assert PACE.due(None, None, NOW) == NOW + PACE.wait
    later = NOW + timedelta(seconds=20)
    assert PACE.due(NOW + PACE.wait, None, later) == NOW + PACE.wait, "what comes later does not put it off"
    assert PACE.due(NOW + PACE.repeat, NOW, later) == NOW + PACE.interval
    assert PACE.due(None, NOW - timedelta(hours=1), NOW) == NOW


def test_news_are_told_once_and_repeated_when_it_is_time() -> None:
    first = rules.plan([Row(), Row()], {}, None, PACE, NOW)
    assert (first.tell, first.over, first.next_look) == ([0, 1], [], NOW + PACE.repeat)
    told = Row(told_version=1, told_firing=True)
    early = rules.plan([told, told], {}, NOW, PACE, NOW + timedelta(hours=3))
    assert (early.tell, early.next_look) == ([], NOW + PACE.repeat)
    assert rules.plan([told, told], {}, NOW, PACE, NOW + PACE.repeat).tell == [0, 1]
    assert rules.plan([told, Row()], {}, NOW, PACE, NOW + PACE.interval).tell == [0, 1], "all of it, with what is new"


def test_what_ended_before_it_was_told_of_is_never_told() -> None:
    found = rules.plan([Row(firing=False, version=2)], {}, None, PACE, NOW)
    assert (found.tell, found.over, found.next_look) == ([], [0], None)


def test_an_end_is_told_once() -> None:
    ended = Row(firing=False, version=2, told_version=1, told_firing=True)
    found = rules.plan([ended], {}, NOW, PACE, NOW + PACE.interval)
    assert (found.tell, found.over, found.next_look) == ([0], [0], None)


rows = st.builds(Row, st.booleans(), st.integers(1, 3), st.integers(0, 3), st.booleans())


@given(st.lists(rows, max_size=6), st.data(), st.one_of(st.none(), st.integers(0, 6 * 3600)))
def test_a_plan_never_tells_of_what_is_silenced_and_loses_nothing(
    group: list[Row], data: st.DataObject, ago: int | None
) -> None:
    places = st.sets(st.integers(0, len(group) - 1)) if group else st.just(set())
    silent = {place: NOW + timedelta(minutes=1 + place) for place in data.draw(places)}
    told = None if ago is None else NOW - timedelta(seconds=ago)
    found = rules.plan(group, silent, told, PACE, NOW)
    assert silent.keys().isdisjoint(found.tell)
    for place, row in enumerate(group):
        if place in found.over:
            assert not row.firing
            assert place in found.tell or not row.told_firing
        elif row.firing or place in silent:
            assert found.next_look is not None, "who goes on, or is held back, is looked at again"
    after = [
        replace(row, told_version=row.version, told_firing=row.firing) if place in found.tell else row
        for place, row in enumerate(group)
        if place not in found.over
    ]
    kept = [place for place in range(len(group)) if place not in found.over]
    still = {new: silent[old] for new, old in enumerate(kept) if old in silent}
    last = NOW if found.tell else told
    if last is None or last + PACE.repeat > NOW:
        assert rules.plan(after, still, last, PACE, NOW).tell == [], "nothing is told twice"


# --- Silences -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ({"service": "shop"}, True),
        ({"service": "cart"}, False),
        ({"service": "shop", "severity": "critical"}, False),
        ({"team": "web", "severity": "warning"}, True),
        ({"requirement_id": UUID(int=1)}, True),
    ],
)
def test_a_silence_holds_where_all_that_it_names_does(matchers: dict[str, Any], holds: bool) -> None:
    assert rules.is_silenced(alert(), Matchers(**matchers)) is holds


def test_an_incident_of_several_services_is_not_silenced_by_one_of_them() -> None:
    assert not rules.is_silenced(alert(services=["cart", "shop"]), Matchers(service="shop"))


def test_the_last_silence_that_matches_counts() -> None:
    hour, day = NOW + timedelta(hours=1), NOW + timedelta(days=1)
    silences = [(Matchers(service="shop"), hour), (Matchers(team="web"), day)]
    assert rules.silenced_until(alert(), silences) == day
    assert rules.silenced_until(alert(services=["mail"], teams=["mail"]), silences) is None


# --- Tries ----------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_within_bounds(attempts: int, chance: float) -> None:
    pause = rules.pause(attempts, chance, None)
    assert rules.FIRST_PAUSE / 2 <= pause <= rules.LONGEST_PAUSE
    assert rules.pause(attempts + 1, chance, None) >= pause


def test_pauses_double_are_spread_and_never_shorter_than_asked() -> None:
    assert [rules.pause(attempts, 1, None) for attempts in (1, 2, 3, 11)] == [5, 10, 20, 3600]
    assert rules.pause(3, 0, None) == 10
    assert rules.pause(1, 1, 120.0) == 120
    assert rules.pause(11, 1, 1.0) == 3600
