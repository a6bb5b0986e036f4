"""An SLO as OpenSLO has it and as a requirement keeps it are one and the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from openslo_strategies import DOCUMENTS
from plumbline_common.openslo import checking, slos
from plumbline_common.openslo.objects import SLI, SLO
from plumbline_common.openslo.slos import NotForPlumbline
from plumbline_common.schemas import Slo

SCHEMA = Draft202012Validator(Slo.model_json_schema(mode="serialization"))
METRIC = {"metricSource": {"type": "Plumbline", "spec": {"metric": "m"}}}
FOREIGN = {"metricSource": {"type": "Prometheus", "spec": {"query": "up", "none": None}}}


def objects_of(*documents: Any) -> list[Any]:
    checked = checking.check({"a.json": json.dumps(documents)})
    assert checked.ok, checked.findings
    return [each.object for each in checked.objects]


def openslo(**spec: Any) -> SLO:
    whole = {
        "service": "web",
        "indicator": {"metadata": {"name": "good"}, "spec": {"ratioMetric": {"good": METRIC, "total": METRIC}}},
        "timeWindow": [{"duration": "4w", "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"target": 0.99}],
    } | spec
    document = {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "web"}, "spec": whole}
    (found,) = objects_of(document)
    assert isinstance(found, SLO)
    return found


NOTHING = (("counter", True), ("displayName", ""), ("isRolling", True))


def normal(document: Any) -> Any:
    """Without what says nothing: defaults and empty names."""
    if isinstance(document, list):
        return [normal(each) for each in document]
    if isinstance(document, dict):
        return {
            name: normal(value)
            for name, value in document.items()
            if value is not None
            and (name, value) not in (("counter", True), ("displayName", ""), ("isRolling", True))
        }
    return document


@given(DOCUMENTS)
def test_what_is_imported_is_exported_and_imported_again_as_it_was(documents: list[dict[str, Any]]) -> None:
    for thing in objects_of(*documents):
        if isinstance(thing, SLI):
            assert slos.indicator_of(thing).name == thing.name
        if not isinstance(thing, SLO):
            continue
        windows = [each.time_slice_window for each in thing.spec.objectives]
        if any(isinstance(window, float) and (60 * window) % 1 for window in windows):
            with pytest.raises(NotForPlumbline, match="whole seconds"):
                slos.slo_of(thing)
            continue
        kept = slos.slo_of(thing)
        exported = slos.document_of(kept, None)
        (again,) = objects_of(exported)
        assert slos.slo_of(again) == kept
        assert slos.document_of(slos.slo_of(again), None) == exported
        assert Slo.model_validate_json(kept.model_dump_json()) == kept
        SCHEMA.validate(json.loads(kept.model_dump_json()))


@given(DOCUMENTS)
def test_nothing_that_an_slo_says_is_lost(documents: list[dict[str, Any]]) -> None:
    for thing in objects_of(*documents):
        if isinstance(thing, SLO):
            given = thing.model_dump(mode="json", exclude_none=True)
            for objective in given["spec"]["objectives"]:
                objective["timeSliceWindow"] = "1m"
            plain = SLO.model_validate(given)
            kept = slos.document_of(slos.slo_of(plain), None)
            given["spec"]["timeWindow"] = [
                {"isRolling": "calendar" not in each} | each for each in given["spec"]["timeWindow"]
            ]
            assert normal(kept) == normal(given)


def test_an_slo_of_the_api_becomes_openslo() -> None:
    fast = {"metricSource": {"spec": {"metric": "m", "le": 0.3}}}
    kept = Slo.model_validate(
        {
            "name": "latency",
            "displayName": "",
            "indicator": {"ratioMetric": {"good": fast, "total": METRIC}},
            "timeWindow": [{"duration": "30d"}],
            "budgetingMethod": "Timeslices",
            "objectives": [{"target": 0.99, "timeSliceWindow": "30s"}],
        }
    )
    document = slos.document_of(kept, "Web shop (EU)")
    assert document["metadata"] == {"name": "latency"}
    assert document["spec"]["service"] == "web-shop-eu"
    assert document["spec"]["indicator"]["metadata"] == {"name": "latency"}
    assert document["spec"]["objectives"] == [{"target": 0.99, "timeSliceTarget": 0.99, "timeSliceWindow": "30s"}]
    good = document["spec"]["indicator"]["spec"]["ratioMetric"]["good"]["metricSource"]
    assert good == {"type": "Plumbline", "spec": {"metric": "m", "le": 0.3}}
    (again,) = objects_of(document)
    assert slos.document_of(slos.slo_of(again), "Web shop (EU)") == document


def test_seconds_of_another_tool_are_written_as_minutes() -> None:
    foreign = {"metadata": {"name": "good"}, "spec": {"ratioMetric": {"good": FOREIGN, "total": FOREIGN}}}
    thing = openslo(
        indicator=foreign,
        budgetingMethod="RatioTimeslices",
        objectives=[{"target": 0.9, "timeSliceWindow": 0.5}, {"target": 0.8, "timeSliceWindow": 5}],
    )
    kept = slos.slo_of(thing)
    assert [each.time_slice_window for each in kept.objectives] == ["30s", "5m"]
    written = slos.document_of(kept, "web")
    assert [each["timeSliceWindow"] for each in written["spec"]["objectives"]] == [0.5, "5m"]
    assert written["spec"]["indicator"]["spec"]["ratioMetric"]["good"] == FOREIGN
    assert slos.slo_of(objects_of(written)[0]) == kept


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (None, "unassigned"),
        ("checkout", "checkout"),
        ("Web shop", "web-shop"),
        ("!?", "unnamed"),
        ("a" * 99, "a" * 63),
    ],
)
def test_a_service_gets_a_name_that_openslo_allows(service: str | None, name: str) -> None:
    assert slos.service_name(service) == name


def ours(**spec: Any) -> dict[str, Any]:
    return {"metricSource": {"type": "Plumbline", "spec": spec}}


def indicator(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        (
            {
                "indicator": indicator({"thresholdMetric": ours(query="x")}),
                "objectives": [{"op": "lt", "value": 1, "target": 0.9}],
            },
            ("spec", "indicator", "spec", "thresholdMetric", "metricSource", "spec", "metric"),
            "required",
        ),
        (
            {
                "indicator": None,
                "objectives": [
                    {
                        "target": 0.9,
                        "indicator": indicator({"ratioMetric": {"rawType": "success", "raw": ours(metric="")}}),
                    }
                ],
            },
            ("spec", "objectives", 0, "indicator", "spec", "ratioMetric", "raw", "metricSource", "spec", "metric"),
            "at least 1",
        ),
        ({"objectives": [{"target": 0.9}] * 31}, ("spec", "objectives"), "at most 30"),
    ],
)
def test_what_plumbline_cannot_keep_is_refused_where_it_stands(
    spec: dict[str, Any], path: tuple[str | int, ...], reason: str
) -> None:
    with pytest.raises(NotForPlumbline) as refused:
        slos.slo_of(openslo(**spec))
    assert refused.value.path == path
    assert reason in refused.value.reason
