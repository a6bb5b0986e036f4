"""What an SLO takes, and that what was stored before a member came reads and writes as it did."""

from typing import Any

import pytest
from pydantic import ValidationError

from plumbline_common.schemas import Slo, seconds

METRIC = {"metricSource": {"spec": {"metric": "m"}}}
FOREIGN = {"metricSource": {"type": "Prometheus", "spec": {"query": "up"}}}
CALENDAR = {"startTime": "2026-01-01 00:00:00", "timeZone": "Europe/Berlin"}


def slo(**members: Any) -> dict[str, Any]:
    return {
        "name": "latency",
        "indicator": {"ratioMetric": {"good": METRIC, "total": METRIC}},
        "timeWindow": [{"duration": "30d"}],
        "objectives": [{"target": 0.99}],
    } | members


def test_an_slo_that_uses_no_newer_member_is_written_as_ever() -> None:
    query = {"metric": "m", "attributes": {}, "aggregation": "mean", "le": None}
    metric = {"metricSource": {"type": "Plumbline", "spec": query}}
    assert Slo.model_validate(slo()).model_dump(mode="json") == {
        "name": "latency",
        "displayName": "",
        "indicator": {
            "thresholdMetric": None,
            "ratioMetric": {"counter": True, "good": metric, "bad": None, "total": metric},
        },
        "timeWindow": [{"duration": "30d", "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [
            {
                "displayName": "",
                "op": None,
                "value": None,
                "target": 0.99,
                "timeSliceTarget": None,
                "timeSliceWindow": None,
            }
        ],
    }


@pytest.mark.parametrize(
    "members",
    [
        {"indicatorRef": "answered", "indicator": None},
        {"indicator": {"ratioMetric": {"raw": FOREIGN, "rawType": "failure"}}},
        {"indicator": {"name": "up", "labels": {"team": "a"}, "thresholdMetric": FOREIGN},
         "objectives": [{"op": "gt", "value": 1, "targetPercent": 99.9}]},
        {"timeWindow": [{"duration": "1M", "isRolling": False, "calendar": CALENDAR}]},
        {"indicator": None, "objectives": [{"target": 0.9, "indicatorRef": "a", "compositeWeight": 2}]},
        {"alertPolicies": [{"alertPolicyRef": "page"}], "service": "shop", "annotations": {"a/b": "c"}},
        {"budgetingMethod": "RatioTimeslices", "objectives": [{"target": 0, "timeSliceWindow": 0.5}]},
    ],
)  # fmt: skip
def test_an_slo_takes_what_openslo_has(members: dict[str, Any]) -> None:
    read = Slo.model_validate(slo(**members))
    assert Slo.model_validate(read.model_dump(mode="json")) == read
    assert Slo.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("members", "place", "reason"),
    [
        ({"indicator": None}, (), "indicator or indicatorRef is required"),
        ({"objectives": [{"target": 0.9, "indicatorRef": "a"}]}, (), "not both"),
        ({"indicator": {"thresholdMetric": METRIC}}, (), "needs op and value"),
        ({"budgetingMethod": "Timeslices"}, (), "needs timeSliceWindow"),
        ({"objectives": [{"target": 0.9, "targetPercent": 90}]}, ("objectives", 0), "exactly one of target"),
        ({"objectives": [{}]}, ("objectives", 0), "exactly one of target"),
        ({"objectives": [{"target": 0.9, "timeSliceWindow": 1e-9}]}, ("objectives", 0, "timeSliceWindow"), "minutes"),
        ({"timeWindow": [{"duration": "1M", "isRolling": False}]}, ("timeWindow", 0), "has a calendar"),
        ({"timeWindow": [{"duration": "1M", "calendar": CALENDAR}]}, ("timeWindow", 0), "a rolling one has none"),
        ({"timeWindow": [{"duration": "0d"}]}, ("timeWindow", 0, "duration"), "pattern"),
        ({"alertPolicies": [{"alertPolicyRef": "A B"}]}, ("alertPolicies", 0, "alertPolicyRef"), "lower-case"),
        ({"annotations": {"a": "\0"}}, ("annotations",), "NUL"),
        (
            {"indicator": {"ratioMetric": {"good": METRIC}}},
            ("indicator", "ratioMetric"),
            "total with exactly one of good and bad",
        ),
        (
            {"indicator": {"ratioMetric": {"raw": FOREIGN, "rawType": "success", "total": FOREIGN}}},
            ("indicator", "ratioMetric"),
            "not both",
        ),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(
    members: dict[str, Any], place: tuple[str | int, ...], reason: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Slo.model_validate(slo(**members))
    (error,) = refused.value.errors()
    assert (error["loc"], reason in error["msg"]) == (place, True), error["msg"]


def test_durations_are_read() -> None:
    day = 86_400
    assert [seconds(each) for each in ("30s", "5m", "1h", "30d", "4w")] == [30, 300, 3600, 30 * day, 28 * day]
    assert [seconds(each) for each in ("2M", "1Q", "1Y")] == [60 * day, 90 * day, 365 * day]


def test_a_target_in_percent_is_the_fraction_that_people_mean() -> None:
    percent = Slo.model_validate(slo(objectives=[{"targetPercent": 99.9}]))
    assert percent.objectives[0].fraction == 0.999
