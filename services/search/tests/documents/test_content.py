from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from plumbline_common.openslo.words import slo_in_words
from plumbline_common.schemas import AnomalySnapshot, IncidentSnapshot, LogTemplateSnapshot, RequirementSnapshot, Slo
from plumbline_search.documents import content

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NewRequirement = Callable[..., RequirementSnapshot]
NewAnomaly = Callable[..., AnomalySnapshot]
NewIncident = Callable[..., IncidentSnapshot]
NewLogTemplate = Callable[..., LogTemplateSnapshot]


def slo(indicator: dict[str, Any], objective: dict[str, Any], **changes: Any) -> Slo:
    return Slo.model_validate(
        {
            "name": "checkout-latency",
            "indicator": indicator,
            "timeWindow": [{"duration": "28d"}],
            "objectives": [objective],
        }
        | changes
    )


def metric(name: str, **spec: Any) -> dict[str, Any]:
    return {"metricSource": {"spec": {"metric": name} | spec}}


def test_a_requirement_is_found_by_all_that_it_says(requirement: NewRequirement) -> None:
    document = content.of_requirement(requirement())
    assert document.title == "Checkout answers fast"
    for words in ("within 300 ms", "slow shops", "Conversion", "service checkout", "tier: gold"):
        assert words in document.body
    assert (document.kind, document.entity_id, document.revision) == ("requirement", UUID(int=1), 3)
    assert (document.key, document.service, document.team, document.state) == (
        "REQ-42",
        "checkout",
        "payments",
        "active",
    )
    assert document.facets == {"type": "latency", "priority": "must"}
    assert document.updated_at == NOW


def test_the_passage_begins_with_title_and_statement(requirement: NewRequirement) -> None:
    document = content.of_requirement(requirement())
    _, (text,) = content.passages_of(document.title, document.body)
    assert text.startswith("Checkout answers fast\nWhen a customer pays")


def test_each_passage_is_read_with_the_title_and_the_headings_above_it() -> None:
    passages, texts = content.passages_of("Disk full", "# Impact\nWrites fail.\n# Mitigation\nDelete logs.")
    assert len(passages) == 2
    assert texts[1] == "Disk full\nMitigation\n# Mitigation\nDelete logs."


def test_a_requirement_with_a_title_only_has_no_empty_lines(requirement: NewRequirement) -> None:
    bare = requirement(description="", statement="  ", rationale="", service=None, labels={})
    assert content.of_requirement(bare).body == ""


def test_what_postgresql_cannot_store_is_left_out(requirement: NewRequirement) -> None:
    document = content.of_requirement(requirement(title="a\x00b", statement="c\x00d"))
    assert document.title == "a b"
    assert "\x00" not in document.body


def test_names_from_telemetry_are_cut_to_what_an_index_holds(anomaly: NewAnomaly) -> None:
    document = content.of_anomaly(anomaly(service="s" * 5000, metric="m\x00" * 5000, title="t" * 5000), NOW)
    assert document.service is not None
    assert len(document.service) == content.FACET_CHARACTERS
    assert len(document.title) == content.TITLE_CHARACTERS
    assert "\x00" not in document.facets["metric"]


def test_a_log_template_is_found_by_what_its_lines_say(log_template: NewLogTemplate) -> None:
    document = content.of_log_template(log_template())
    assert (document.kind, document.title, document.service) == ("log_template", "cart <*> paid", "shop")
    assert document.body == "service shop\ncart 7 paid\ncart 8 paid"
    assert document.facets["count"] == 12


def test_an_anomaly_of_logs_is_found_by_its_lines(anomaly: NewAnomaly) -> None:
    log = {
        "kind": "new",
        "template_id": UUID(int=4),
        "template": "tank <*> burst",
        "examples": ["tank 7 burst"],
        "shares": [],
        "interval_seconds": 60,
    }
    assert "tank 7 burst" in content.of_anomaly(anomaly(log=log), NOW).body


def test_an_incident_is_found_by_its_anomalies_its_origin_and_what_people_say(incident: NewIncident) -> None:
    document = content.of_incident(incident(), NOW)
    for words in ("critical incident", "service web", "its level has moved", "1.4.2 was deployed", "alice: A quokka"):
        assert words in document.body
    assert (document.kind, document.service, document.state) == ("incident", "cart", "open")
    assert document.facets["services"] == ["cart", "web"]
    assert "ended" not in document.facets


def test_an_incident_that_is_over_tells_how_it_ended(incident: NewIncident) -> None:
    over = incident(state="resolved", resolved_at=incident().onset + timedelta(minutes=42))
    assert content.of_incident(over, NOW).facets["minutes"] == 42.0


def test_a_huge_description_is_cut(requirement: NewRequirement) -> None:
    document = content.of_requirement(requirement(description="word " * 1_000_000))
    assert len(document.body) == content.BODY_CHARACTERS


def test_an_anomaly_says_what_departed_and_how(anomaly: NewAnomaly) -> None:
    document = content.of_anomaly(anomaly(), NOW, "REQ-42 Checkout answers fast")
    assert document.title.startswith("p95 of http.server.request.duration")
    for words in (
        "critical anomaly",
        "p95 of http.server.request.duration",
        "higher than expected",
        "service checkout",
        "departs from REQ-42 Checkout answers fast",
        "http.route: /pay",
    ):
        assert words in document.body
    assert (document.kind, document.revision, document.state) == ("anomaly", 2, "open")
    assert document.facets["severity"] == "critical"


def test_an_anomaly_of_no_known_requirement_names_none(anomaly: NewAnomaly) -> None:
    assert "departs" not in content.of_anomaly(anomaly(direction="down"), NOW).body


@pytest.mark.parametrize(
    ("indicator", "objective", "changes", "words"),
    [
        (
            {"thresholdMetric": metric("http.server.request.duration", aggregation="p95")},
            {"op": "lte", "value": 0.3, "target": 0.99, "timeSliceWindow": "1m"},
            {"budgetingMethod": "Timeslices"},
            "checkout latency: 99 % of 1 minute slices with p95 of http.server.request.duration at most 0.3,"
            " over 28 days",
        ),
        (
            {"thresholdMetric": metric("system.memory.utilization", attributes={"host.name": "db1"})},
            {"op": "lt", "value": 0.9, "target": 0.999},
            {"displayName": "Memory", "timeWindow": [{"duration": "1w"}]},
            "Memory: 99.9 % of mean of system.memory.utilization db1 below 0.9, over 1 week",
        ),
        (
            {
                "ratioMetric": {
                    "good": metric("http.server.request.duration", aggregation="rate", le=0.5),
                    "total": metric("http.server.request.duration", aggregation="rate"),
                }
            },
            {"target": 0.95, "displayName": "Fast enough"},
            {},
            "checkout latency: Fast enough 95 % of rate of http.server.request.duration"
            " good by rate of http.server.request.duration up to 0.5, over 28 days",
        ),
        (
            {"ratioMetric": {"bad": metric("errors"), "total": metric("requests")}},
            {"target": 0.9995},
            {},
            "checkout latency: 99.95 % of mean of requests without mean of errors, over 28 days",
        ),
    ],
)
def test_an_slo_in_words(
    indicator: dict[str, Any], objective: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    assert slo_in_words(slo(indicator, objective, **changes)) == words


def test_an_slo_of_another_tool_is_searched_by_its_query_and_its_names() -> None:
    raw = {"metricSource": {"type": "Prometheus", "spec": {"query": "sum(failed)"}}}
    indicator = {"displayName": "Failures", "ratioMetric": {"rawType": "failure", "raw": raw}}
    words = slo_in_words(slo(indicator, {"targetPercent": 99.9}, timeWindow=[{"duration": "1Q"}]))
    assert words.endswith("99.9 % of query sum(failed) Failures, over 1 quarter")
    absent = Slo.model_validate(
        {
            "name": "answers",
            "indicatorRef": "answered",
            "timeWindow": [{"duration": "28d"}],
            "objectives": [{"target": 0.9}],
        }
    )
    assert "90 % of answered" in slo_in_words(absent)


def test_the_slos_of_a_requirement_are_searched_in_words(requirement: NewRequirement) -> None:
    latency = slo({"thresholdMetric": metric("latency")}, {"op": "gt", "value": 1, "target": 0.5})
    body = content.of_requirement(requirement(slos=[latency])).body
    assert "50 % of mean of latency above 1, over 28 days" in body
