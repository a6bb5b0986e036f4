"""The rules against sentences that people labelled, and each rule's way to be silenced."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.schemas import Slo
from plumbline_requirements.linting import rules, sentences
from plumbline_requirements.linting.rules import RULES, Subject, lint
from plumbline_requirements.linting.sentences import Pattern
from plumbline_requirements.requirements.schemas import LintRequest

with (Path(__file__).parent / "sentences.tsv").open(newline="") as file:
    SENTENCES = [
        (row["pattern"], frozenset(filter(None, row["rules"].split(","))), row["statement"])
        for row in csv.DictReader(file, delimiter="\t")
    ]


def found(statement: str, **other: Any) -> frozenset[str]:
    return frozenset(each.rule for each in lint(Subject(statement=statement, **other)).findings)


def test_the_labelled_sentences_are_many_and_name_known_rules() -> None:
    assert len(SENTENCES) >= 150
    assert len({statement for _, _, statement in SENTENCES}) == len(SENTENCES)
    assert {rule for _, labels, _ in SENTENCES for rule in labels} == RULES.keys() - {"contradiction"}
    assert {pattern for pattern, _, _ in SENTENCES} - {""} == set(Pattern)


def test_precision_and_recall_on_the_labelled_sentences() -> None:
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    said: list[str] = []
    for _, labels, statement in SENTENCES:
        told = found(statement)
        right.update(told & labels)
        wrong.update(told - labels)
        missed.update(labels - told)
        if told != labels:
            said.append(f"{statement} +{sorted(told - labels)} -{sorted(labels - told)}")
    precision = right.total() / (right.total() + wrong.total())
    recall = right.total() / (right.total() + missed.total())
    report = "\n".join([f"precision {precision:.3f}, recall {recall:.3f}", *said])
    assert precision >= 0.9, report
    assert recall >= 0.9, report
    for rule in right | wrong | missed:
        assert right[rule] >= 0.75 * (right[rule] + wrong[rule] + missed[rule]), f"{rule}\n{report}"


def test_the_pattern_of_the_labelled_sentences() -> None:
    wrong = [
        f"{statement}: {sentences.pattern(statement)}, not {wanted or None}"
        for wanted, _, statement in SENTENCES
        if sentences.pattern(statement) != (wanted or None)
    ]
    assert len(wrong) <= 0.05 * len(SENTENCES), "\n".join(wrong)


# --- Text against SLOs ----------------------------------------------------------------------------------


def slo(target: float, window: str = "30d", aggregation: str = "mean", **query: Any) -> Slo:
    source = {
        "metricSource": {"spec": {"metric": "http.server.request.duration", "aggregation": aggregation} | query}
    }
    return Slo.model_validate(
        {
            "name": "one",
            "indicator": {"ratioMetric": {"good": source, "total": source}},
            "timeWindow": [{"duration": window}],
            "objectives": [{"target": target}],
        }
    )


def threshold(value: float, aggregation: str = "p95", metric: str = "http.server.request.duration") -> Slo:
    source = {"metricSource": {"spec": {"metric": metric, "aggregation": aggregation}}}
    return Slo.model_validate(
        {
            "name": "two",
            "indicator": {"thresholdMetric": source},
            "timeWindow": [{"duration": "28d"}],
            "budgetingMethod": "Timeslices",
            "objectives": [
                {"op": "lte", "value": value, "target": 0.95, "timeSliceTarget": 0.9, "timeSliceWindow": "1m"}
            ],
        }
    )


AGREEING: list[tuple[str, Slo]] = [
    ("The gateway shall answer 99.9 % of requests within 300 ms over 30 days.", slo(0.999, le=0.3)),
    ("The gateway shall answer 99.9 percent of requests within 0.3 s over 4 weeks.", slo(0.999, "4w", le=0.3)),
    ("At most 0.1 % of requests shall fail over 720 hours.", slo(0.999)),
    ("The service shall offer three nines.", slo(0.999)),
    ("The gateway shall keep its p95 latency at or below 250 ms in 95 % of the minutes of 28 days.", threshold(0.25)),
    ("The 95th percentile shall stay below 250 ms, in 90 % of each minute.", threshold(0.25)),
    ("The host shall use at most 80 % of its memory.", threshold(0.8, metric="system.memory.utilization")),
    ("The host shall use at most 80 % of its memory.", threshold(80, metric="memory.percent")),
    ("The queue shall hold at most 300 messages.", threshold(250, metric="queue.depth")),
    ("The gateway shall retry 2 times within 5 s.", slo(0.999)),
    ("The p99 shall be at most 1 s over 30 days.", slo(0.999)),
    ("The gateway shall answer 99.9 % of requests over a month.", slo(0.999)),
]
CONTRADICTING: list[tuple[str, Slo, str, str]] = [
    ("The gateway shall answer 99.9 % of requests over 30 days.", slo(0.995), "99.9 %", "target is 99.5 %"),
    ("The gateway shall answer 99 percent of requests over 30 days.", slo(0.999), "99 percent", "target is 99.9 %"),
    ("The service shall offer four nines.", slo(0.999), "four nines", "target is 99.9 %"),
    ("At most 1 % of requests shall fail over 30 days.", slo(0.999), "1 %", "target is 99.9 %"),
    ("The gateway shall keep its p95 latency below 250 ms.", threshold(0.25, "p99"), "p95", "reads p99"),
    ("The 99th percentile shall stay below 250 ms.", threshold(0.25, "p95"), "99th percentile", "reads p95"),
    ("The gateway shall answer within 300 ms.", slo(0.999, le=0.5), "300 ms", "limit is 0.5 s"),
    ("The gateway shall answer in less than 2 seconds.", threshold(1), "2 seconds", "limit is 1 s"),
    ("The gateway shall answer 99.9 % of requests over 30 days.", slo(0.999, "28d"), "30 days", "window is 28d"),
    ("The gateway shall answer 99.9 % of requests in any 7 days.", slo(0.999, "4w"), "7 days", "window is 4w"),
]


@pytest.mark.parametrize(("statement", "one"), AGREEING)
def test_a_text_that_says_what_its_slo_demands(statement: str, one: Slo) -> None:
    assert "contradiction" not in found(statement, slos=[one])


@pytest.mark.parametrize(("statement", "one", "excerpt", "hint"), CONTRADICTING)
def test_a_text_that_contradicts_its_slo(statement: str, one: Slo, excerpt: str, hint: str) -> None:
    (finding,) = (
        each for each in lint(Subject(statement=statement, slos=[one])).findings if each.rule == "contradiction"
    )
    assert (finding.excerpt, finding.severity, statement[finding.start : finding.end]) == (excerpt, "error", excerpt)
    assert hint in finding.suggestion


def test_our_own_requirements_have_no_error() -> None:
    for document in yaml.safe_load_all((Path(__file__).parents[4] / "examples" / "plumbline.yaml").read_text()):
        content = LintRequest.model_validate(document["spec"])
        subject = Subject(title=content.title, statement=content.statement, slos=content.slos)
        assert [each for each in lint(subject).findings if each.severity == "error"] == []


def test_one_of_several_slos_is_enough() -> None:
    both = [slo(0.99), slo(0.999)]
    assert "contradiction" not in found("The gateway shall answer 99.9 % of requests over 30 days.", slos=both)


# --- A requirement as a whole ---------------------------------------------------------------------------


def test_an_slo_or_a_method_is_a_criterion_and_an_slo_has_a_window() -> None:
    assert found("The platform shall be available.") == {"criterion"}
    assert found("The platform shall be available.", verification_method="Probes from outside.") == set()
    assert found("The gateway shall answer 99.9 % of requests.", slos=[slo(0.999)]) == set()


def test_placeholders_are_found_in_every_text() -> None:
    subject = Subject(
        title="TBD", description="see TODO", rationale="who knows???", verification_method="[TBD]", statement=""
    )
    members = [(each.member, each.excerpt) for each in lint(subject).findings if each.rule == "placeholder"]
    assert members == [
        ("title", "TBD"), ("description", "TODO"), ("rationale", "???"), ("verification_method", "[TBD]")
    ]  # fmt: skip


def test_a_label_with_a_reason_silences_its_rule_only() -> None:
    statement = "The service shall be fast and robust."
    labels = (("lint.vague", "Quoted from the contract."), ("lint.criterion", "  "), ("team", "a"))
    told = {each.rule: each.silenced for each in lint(Subject(statement=statement, labels=labels)).findings}
    assert told == {"vague": "Quoted from the contract.", "criterion": None}


@given(st.text(max_size=200) | st.text(alphabet="shall be 9%.,TBD<>?[] within\n", max_size=200))
def test_every_finding_names_its_place(text: str) -> None:
    report = lint(Subject(title=text, statement=text, description=text, slos=[slo(0.999, le=0.3), threshold(1)]))
    assert len(report.findings) <= rules.MOST
    for each in report.findings:
        assert 0 <= each.start <= each.end <= len(text)
        assert each.excerpt == text[each.start : each.end]
        assert each.rule in RULES
        assert each.suggestion


def test_the_documentation_has_every_rule_with_its_source() -> None:
    page = (Path(__file__).parents[4] / "docs" / "lint.md").read_text()
    for name, rule in RULES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {rule.severity} |" in row
        assert rule.source in row
