import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from openslo_strategies import DOCUMENTS, SPECS
from plumbline_common.openslo import checking, reading, writing
from plumbline_common.openslo.checking import Checked, Finding
from plumbline_common.openslo.objects import OBJECTS, SLO

DATA = Path(os.environ.get("PLUMBLINE_DATA") or Path(__file__).parents[5] / "shared" / "data") / "openslo"

SERVICE = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}}
QUERY = {"metricSource": {"type": "Prometheus", "spec": {"query": "up"}}}
RATIO = {"metadata": {"name": "good"}, "spec": {"ratioMetric": {"counter": True, "good": QUERY, "total": QUERY}}}
THRESHOLD = {"metadata": {"name": "fast"}, "spec": {"thresholdMetric": QUERY}}
ROLLING = {"duration": "4w", "isRolling": True}
CONDITION = {
    "severity": "page",
    "condition": {"kind": "burnrate", "op": "gte", "threshold": 2, "lookbackWindow": "1h"},
}
POLICY = {
    "alertWhenBreaching": True,
    "conditions": [{"kind": "AlertCondition", "metadata": {"name": "fast-burn"}, "spec": CONDITION}],
    "notificationTargets": [{"targetRef": "pager"}],
}


def slo(**spec: Any) -> dict[str, Any]:
    whole = {
        "service": "web",
        "indicator": RATIO,
        "timeWindow": [ROLLING],
        "budgetingMethod": "Occurrences",
        "objectives": [{"target": 0.99}],
    } | spec
    kept = {name: value for name, value in whole.items() if value is not ...}
    return {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "web"}, "spec": kept}


def sli(spec: Any) -> dict[str, Any]:
    return {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "web"}, "spec": spec}


def ratio(**members: Any) -> dict[str, Any]:
    return sli({"ratioMetric": members})


def of(kind: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": "one"}, "spec": spec}


def named(**metadata: Any) -> dict[str, Any]:
    return {**SERVICE, "metadata": {"name": "web", **metadata}}


def check(*documents: Any) -> Checked:
    return checking.check({"slo.yaml": "---\n".join(writing.dump(document) for document in documents)})


def errors(checked: Checked) -> list[Finding]:
    return [finding for finding in checked.findings if finding.severity == "error"]


# --- The published examples -----------------------------------------------------------------------------


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the examples of the specification are not in {DATA}")
def test_every_published_example_is_taken_and_comes_back_the_same() -> None:
    files = sorted(DATA.rglob("*.yaml"))
    assert files
    for file in files:
        checked = checking.check({file.name: file.read_text()})
        assert errors(checked) == [], file
        taken = [each.object for each in checked.objects]
        assert len(taken) >= 1
        again = checking.check({file.name: writing.write(taken)})
        assert [each.object for each in again.objects] == taken


# --- Valid and invalid ----------------------------------------------------------------------------------

VALID = {
    "ratio": slo(),
    "threshold": slo(indicator=THRESHOLD, objectives=[{"op": "lte", "value": 300, "target": 0.99}]),
    "percent": slo(objectives=[{"targetPercent": 99.9}]),
    "several objectives": slo(objectives=[{"target": 0.99}, {"displayName": "SLA", "target": 0}]),
    "timeslices": slo(
        budgetingMethod="Timeslices", objectives=[{"target": 0.9, "timeSliceTarget": 1, "timeSliceWindow": "1m"}]
    ),
    "slices in minutes": slo(
        budgetingMethod="Timeslices", objectives=[{"target": 0.9, "timeSliceTarget": 0.5, "timeSliceWindow": 5}]
    ),
    "ratio timeslices": slo(budgetingMethod="RatioTimeslices", objectives=[{"target": 0.9, "timeSliceWindow": "1m"}]),
    "calendar": slo(
        timeWindow=[{"duration": "1Q", "calendar": {"startTime": "2026-01-01 00:00:00", "timeZone": "Europe/Berlin"}}]
    ),
    "by reference": slo(indicator=..., indicatorRef="checkout"),
    "composite": slo(
        indicator=...,
        objectives=[
            {"target": 0.99, "indicator": RATIO, "compositeWeight": 2},
            {"target": 0.9, "indicatorRef": "other", "compositeWeight": 1},
        ],
    ),
    "policy by reference": slo(alertPolicies=[{"alertPolicyRef": "page"}]),
    "inline policy": slo(alertPolicies=[{"kind": "AlertPolicy", "metadata": {"name": "page"}, "spec": POLICY}]),
    "no policy": slo(alertPolicies=None),
    "bad and total": ratio(counter=False, bad=QUERY, total=QUERY),
    "raw": ratio(raw=QUERY, rawType="failure"),
    "source by reference": ratio(
        good={"metricSource": {"metricSourceRef": "prom", "spec": {"query": "up"}}}, total=QUERY
    ),
    "condition": of("AlertCondition", CONDITION),
    "condition at once": of(
        "AlertCondition", CONDITION | {"condition": CONDITION["condition"] | {"alertAfter": "0m"}}
    ),
    "target": of("AlertNotificationTarget", {"target": "slack"}),
    "source": of("DataSource", {"type": "Prometheus", "connectionDetails": [{"url": "http://prometheus"}]}),
    "policy": of("AlertPolicy", POLICY),
    "service": SERVICE,
    "labels": named(labels={"team": ["a", "b"], "tier": "1"}, annotations={"openslo.com/key": "v", "plain": ""}),
    "a name with dots and bars": {**SERVICE, "metadata": {"name": "team.a|web/eu-1"}},
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    checked = check(VALID[name])
    assert errors(checked) == []
    assert len(checked.objects) == 1


INVALID: dict[str, tuple[Any, str, str]] = {
    "name": ({**SERVICE, "metadata": {"name": "My Service"}}, "/metadata/name", "lower-case"),
    "long name": ({**SERVICE, "metadata": {"name": "a" * 256}}, "/metadata/name", "at most 255"),
    "no name": ({**SERVICE, "metadata": {}}, "/metadata/name", "is required"),
    "no metadata": ({**SERVICE, "metadata": None}, "/metadata", "is required"),
    "label key": (named(labels={"-a": "b"}), "/metadata/labels/-a", "a label's key"),
    "label value": (named(labels={"a": 1}), "/metadata/labels/a", "must be a list"),
    "annotation key": (named(annotations={"a/b/c": "d"}), "/metadata/annotations/a~1b~1c", "an annotation's key"),
    "annotation value": (
        named(annotations={"a": True}),
        "/metadata/annotations/a",
        "must be text, not true; put it in",
    ),
    "unknown member": ({**SERVICE, "specs": {}}, "/specs", "is spec meant?"),
    "long description": (of("Service", {"description": "a" * 1051}), "/spec/description", "at most 1050 characters"),
    "no spec": ({**SERVICE, "spec": None}, "/spec", "is required"),
    "kind": (of("Slo", {}), "/kind", "there is no kind Slo"),
    "no kind": ({"apiVersion": "openslo/v1"}, "/kind", "is required: one of AlertCondition"),
    "no version": ({"kind": "SLO"}, "/apiVersion", "is required: openslo/v1"),
    "version": ({**SERVICE, "apiVersion": "openslo/v3"}, "/apiVersion", "must be openslo/v1, not openslo/v3"),
    "v1alpha": (
        {**SERVICE, "apiVersion": "openslo/v1alpha"},
        "/apiVersion",
        "To convert: write apiVersion openslo/v1",
    ),
    "v2alpha": (
        {**SERVICE, "apiVersion": "openslo.com/v2alpha"},
        "/apiVersion",
        "sliRef become indicator and indicatorRef",
    ),
    "no object": ([1], "/0", "must be an OpenSLO object"),
    "no service": (slo(service=...), "/spec/service", "is required"),
    "no indicator": (slo(indicator=...), "/spec", "indicator or indicatorRef is required"),
    "two indicators": (slo(indicatorRef="a"), "/spec", "only one of indicator and indicatorRef"),
    "indicator above and below": (slo(objectives=[{"target": 0.9, "indicatorRef": "a"}]), "/spec", "not in both"),
    "composite with a gap": (
        slo(indicator=..., objectives=[{"target": 0.9, "indicatorRef": "a"}, {"target": 0.9}]),
        "/spec",
        "in every objective",
    ),
    "weight": (
        slo(indicator=..., objectives=[{"target": 0.9, "indicatorRef": "a", "compositeWeight": 0}]),
        "/spec/objectives/0/compositeWeight",
        "greater than 0",
    ),
    "no window": (slo(timeWindow=...), "/spec/timeWindow", "is required"),
    "two windows": (slo(timeWindow=[ROLLING, ROLLING]), "/spec/timeWindow", "at most 1 item, not 2"),
    "empty windows": (slo(timeWindow=[]), "/spec/timeWindow", "at least 1 item"),
    "window of zero": (slo(timeWindow=[{"duration": "0d"}]), "/spec/timeWindow/0/duration", "positive whole number"),
    "unit": (slo(timeWindow=[{"duration": "4W"}]), "/spec/timeWindow/0/duration", "m h d w M Q Y"),
    "seconds": (slo(timeWindow=[{"duration": "30s"}]), "/spec/timeWindow/0/duration", "seconds go only with"),
    "rolling calendar": (
        slo(timeWindow=[{**ROLLING, "calendar": {"startTime": "2026-01-01 00:00:00", "timeZone": "UTC"}}]),
        "/spec/timeWindow/0",
        "calendar cannot be set",
    ),
    "neither": (
        slo(timeWindow=[{"duration": "1M", "isRolling": False}]),
        "/spec/timeWindow/0",
        "calendar must be set",
    ),
    "no such day": (
        slo(timeWindow=[{"duration": "1M", "calendar": {"startTime": "2026-02-30 00:00:00", "timeZone": "UTC"}}]),
        "/spec/timeWindow/0/calendar/startTime",
        "there is no such time",
    ),
    "a time with a zone": (
        slo(timeWindow=[{"duration": "1M", "calendar": {"startTime": "2026-02-01T00:00:00Z", "timeZone": "UTC"}}]),
        "/spec/timeWindow/0/calendar/startTime",
        "without zone",
    ),
    "zone": (
        slo(
            timeWindow=[{"duration": "1M", "calendar": {"startTime": "2026-02-01 00:00:00", "timeZone": "Mars/Base"}}]
        ),
        "/spec/timeWindow/0/calendar/timeZone",
        "IANA",
    ),
    "method": (slo(budgetingMethod="Occurences"), "/spec/budgetingMethod", "'Occurrences', 'Timeslices' or"),
    "no objectives": (slo(objectives=[]), "/spec/objectives", "at least 1"),
    "target of one": (slo(objectives=[{"target": 1}]), "/spec/objectives/0/target", "less than 1"),
    "target below zero": (
        slo(objectives=[{"target": -0.1}]),
        "/spec/objectives/0/target",
        "greater than or equal to 0",
    ),
    "target as text": (
        slo(objectives=[{"target": "99%"}]),
        "/spec/objectives/0/target",
        "must be a number, not '99%'",
    ),
    "target twice": (
        slo(objectives=[{"target": 0.9, "targetPercent": 90}]),
        "/spec/objectives/0",
        "exactly one of target and targetPercent",
    ),
    "no target": (slo(objectives=[{}]), "/spec/objectives/0", "exactly one of target and targetPercent"),
    "percent": (slo(objectives=[{"targetPercent": 100}]), "/spec/objectives/0/targetPercent", "less than 100"),
    "operator": (slo(objectives=[{"target": 0.9, "op": "<"}]), "/spec/objectives/0/op", "'lte', 'gte', 'lt' or 'gt'"),
    "threshold without operator": (
        slo(indicator=THRESHOLD, objectives=[{"target": 0.9, "value": 1}]),
        "/spec/objectives/0/op",
        "is required with a thr",
    ),
    "threshold without value": (
        slo(indicator=THRESHOLD, objectives=[{"target": 0.9, "op": "lt"}]),
        "/spec/objectives/0/value",
        "is required with a thr",
    ),
    "slices without target": (
        slo(budgetingMethod="Timeslices", objectives=[{"target": 0.9, "timeSliceWindow": "1m"}]),
        "/spec/objectives/0/timeSliceTarget",
        "is required with the budgetingMethod Timeslices",
    ),
    "slices without window": (
        slo(budgetingMethod="RatioTimeslices"),
        "/spec/objectives/0/timeSliceWindow",
        "is required with the budgetingMethod",
    ),
    "slice target": (
        slo(objectives=[{"target": 0.9, "timeSliceTarget": 0}]),
        "/spec/objectives/0/timeSliceTarget",
        "greater than 0",
    ),
    "slice window": (
        slo(objectives=[{"target": 0.9, "timeSliceWindow": 0}]),
        "/spec/objectives/0/timeSliceWindow",
        "above 0",
    ),
    "policy both ways": (
        slo(alertPolicies=[{"alertPolicyRef": "a", "kind": "AlertPolicy"}]),
        "/spec/alertPolicies/0",
        "not both",
    ),
    "policy without kind": (
        slo(alertPolicies=[{"metadata": {"name": "a"}, "spec": POLICY}]),
        "/spec/alertPolicies/0",
        "lacks kind",
    ),
    "policy reference": (
        slo(alertPolicies=[{"alertPolicyRef": "A b"}]),
        "/spec/alertPolicies/0/alertPolicyRef",
        "lower-case",
    ),
    "two conditions": (
        of("AlertPolicy", POLICY | {"conditions": [{"conditionRef": "a"}, {"conditionRef": "b"}]}),
        "/spec/conditions",
        "at most 1",
    ),
    "no target of a policy": (
        of("AlertPolicy", POLICY | {"notificationTargets": []}),
        "/spec/notificationTargets",
        "at least",
    ),
    "both metrics": (
        sli({"thresholdMetric": QUERY, "ratioMetric": {"good": QUERY, "total": QUERY}}),
        "/spec",
        "exactly one of",
    ),
    "no metric": (sli({}), "/spec", "exactly one of thresholdMetric and ratioMetric"),
    "good and bad": (ratio(good=QUERY, bad=QUERY, total=QUERY), "/spec/ratioMetric", "exactly one of good and bad"),
    "only total": (ratio(total=QUERY), "/spec/ratioMetric", "exactly one of good and bad"),
    "only good": (ratio(good=QUERY), "/spec/ratioMetric", "must have either total"),
    "raw and good": (
        ratio(raw=QUERY, good=QUERY, rawType="success"),
        "/spec/ratioMetric",
        "raw can't be used together",
    ),
    "raw without type": (ratio(raw=QUERY), "/spec/ratioMetric", "rawType is required"),
    "raw and total": (ratio(raw=QUERY, total=QUERY, good=QUERY), "/spec/ratioMetric", "must have either total"),
    "source without type": (
        sli({"thresholdMetric": {"metricSource": {"spec": {"query": "up"}}}}),
        "/spec/thresholdMetric/metricSource",
        "type can be left",
    ),
    "source without spec": (
        sli({"thresholdMetric": {"metricSource": {"type": "A", "spec": {}}}}),
        "/spec/thresholdMetric/metricSource",
        "not be empty",
    ),
    "counter": (ratio(counter="yes", good=QUERY, total=QUERY), "/spec/ratioMetric/counter", "must be true or false"),
    "condition without severity": (
        of("AlertCondition", {"condition": CONDITION["condition"]}),
        "/spec/severity",
        "is required",
    ),
    "condition's kind": (
        of(
            "AlertCondition", {"severity": "p", "condition": {"kind": "rate", "threshold": 1, "lookbackWindow": "1h"}}
        ),
        "/spec/condition/kind",
        "must be 'burnrate'",
    ),
    "condition without threshold": (
        of("AlertCondition", {"severity": "p", "condition": {"op": "gt", "lookbackWindow": "1h"}}),
        "/spec/condition/threshold",
        "is req",
    ),
    "source without details": (of("DataSource", {"type": "A"}), "/spec/connectionDetails", "is required"),
    "target without target": (of("AlertNotificationTarget", {}), "/spec/target", "is required"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    document, pointer, reason = INVALID[name]
    checked = check(document)
    found = errors(checked)
    assert (pointer, True) in [(finding.pointer, reason in finding.reason) for finding in found], found
    assert not checked.ok


def test_every_fault_of_a_file_is_told_with_its_place() -> None:
    text = textwrap.dedent(
        """\
        # two objects
        - apiVersion: openslo/v1
          kind: Service
          metadata: {name: web}
          spec: {}
        - apiVersion: openslo/v1
          kind: SLO
          metadata:
            name: web
          spec:
            service: web
            indicatorRef: good
            timeWindow:
              - duration: 0d
            budgetingMethod: Occurrences
            objectives:
              - target: 1.2
                tagret: 3
        """
    )
    checked = checking.check({"web.yaml": text})
    assert [(each.object.kind, each.object.name) for each in checked.objects] == [("Service", "web")]
    assert [(f.file, f.line, f.column, f.document, f.pointer, f.subject) for f in checked.findings] == [
        ("web.yaml", 14, 9, 1, "/1/spec/timeWindow/0/duration", "SLO web"),
        ("web.yaml", 17, 9, 1, "/1/spec/objectives/0/target", "SLO web"),
        ("web.yaml", 18, 9, 1, "/1/spec/objectives/0/tagret", "SLO web"),
    ]


def test_a_file_that_is_no_yaml_hides_no_other() -> None:
    checked = checking.check({"a.yaml": "a: [", "b.yaml": writing.dump(SERVICE), "c.yaml": ""})
    assert [(finding.file, finding.severity) for finding in checked.findings] == [
        ("a.yaml", "error"),
        ("c.yaml", "warning"),
    ]
    assert len(checked.objects) == 1


# --- What members say together --------------------------------------------------------------------------


def warnings(*documents: Any) -> list[tuple[str, str]]:
    checked = check(*documents)
    assert errors(checked) == []
    return [(finding.pointer, finding.reason) for finding in checked.findings]


def test_a_reference_leads_to_an_object_of_any_file_or_a_known_one() -> None:
    by_reference = slo(indicator=..., indicatorRef="checkout", objectives=[{"target": 0.9}])
    assert warnings(by_reference) == [("/spec/indicatorRef", "there is no SLI checkout among these")]
    checkout = {**sli({"thresholdMetric": QUERY}), "metadata": {"name": "checkout"}}
    both = checking.check({"a.yaml": writing.dump(by_reference), "b.yaml": writing.dump(checkout)})
    # Now it is known to be a threshold.
    assert {finding.pointer for finding in errors(both)} == {"/spec/objectives/0/op", "/spec/objectives/0/value"}
    known = [each.object for each in check(checkout).objects]
    assert not checking.check({"a.yaml": writing.dump(by_reference)}, known).ok


@pytest.mark.parametrize(
    ("document", "pointer", "reason"),
    [
        (slo(objectives=[{"target": 0.9, "op": "gt"}]), "/spec/objectives/0/op", "no effect with a ratioMetric"),
        (
            slo(objectives=[{"target": 0.9, "timeSliceWindow": "1m"}]),
            "/spec/objectives/0/timeSliceWindow",
            "no effect",
        ),
        (slo(objectives=[{"target": 0.9, "compositeWeight": 1}]), "/spec/objectives/0/compositeWeight", "no effect"),
        (
            slo(indicator=THRESHOLD, objectives=[{"op": "lt", "value": n, "target": 0.9} for n in (1, 2)]),
            "/spec/objectives",
            "one objective",
        ),
    ],
)
def test_what_has_no_effect_or_others_may_refuse_is_a_warning(document: Any, pointer: str, reason: str) -> None:
    ((at, said),) = warnings(document)
    assert at == pointer
    assert reason in said


def test_a_second_object_of_one_name_is_told() -> None:
    assert warnings(SERVICE, SERVICE) == [
        ("/metadata/name", "another Service has this name, in line 4; the last counts")
    ]


def test_seconds_go_with_our_own_source() -> None:
    ours = {"metricSource": {"type": "Plumbline", "spec": {"metric": "up"}}}
    indicator = {"metadata": {"name": "good"}, "spec": {"thresholdMetric": ours}}
    document = slo(
        indicator=indicator,
        budgetingMethod="Timeslices",
        objectives=[{"op": "lt", "value": 1, "target": 0.9, "timeSliceTarget": 1, "timeSliceWindow": "2s"}],
    )
    ((pointer, _),) = warnings(document)
    assert pointer == "/spec/objectives/0/timeSliceWindow"


# --- What comes out goes in -----------------------------------------------------------------------------


def test_every_kind_is_tried() -> None:
    assert SPECS.keys() == OBJECTS.keys()


@given(DOCUMENTS)
def test_what_is_written_is_read_as_the_same_objects(documents: list[dict[str, Any]]) -> None:
    first = check(*documents)
    assert errors(first) == []
    taken = [each.object for each in first.objects]
    assert len(taken) == len(documents)
    text = writing.write(taken)
    again = checking.check({"again.yaml": text})
    assert [each.object for each in again.objects] == taken
    assert writing.write([each.object for each in again.objects]) == text


@given(DOCUMENTS)
def test_nothing_that_a_document_says_is_lost(documents: list[dict[str, Any]]) -> None:
    written = [
        node.plain() for node in reading.read(writing.write([each.object for each in check(*documents).objects]))
    ]
    for document, again in zip(documents, written, strict=True):
        assert _without_nulls_and_defaults(again) == _without_nulls_and_defaults(document)


def _without_nulls_and_defaults(value: Any) -> Any:
    if isinstance(value, list):
        values = [_without_nulls_and_defaults(each) for each in value]
        return values[0] if len(values) == 1 and isinstance(values[0], str) else values
    if isinstance(value, dict):
        return {
            name: _without_nulls_and_defaults(each)
            for name, each in value.items()
            if each is not None and (name, each) != ("kind", "burnrate")
        }
    return value


def test_an_slo_knows_its_indicators() -> None:
    (located,) = check(VALID["composite"]).objects
    assert isinstance(located.object, SLO)
    assert [each.metadata.name for each in located.object.indicators] == ["good"]
    assert checking.references(located.object) == [("SLI", "other")]
