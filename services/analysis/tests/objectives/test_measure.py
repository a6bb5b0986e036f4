from typing import Any
from uuid import UUID

import numpy as np
import pytest

from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.measure import Part, Request
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Kind, Temporality
from plumbline_common.schemas import Slo

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
GOOD = SignalInfo(1, "1", Kind.SUM, Temporality.DELTA, True)
TOTAL = SignalInfo(2, "1", Kind.SUM, Temporality.DELTA, True)
GAUGE = SignalInfo(3, "1", Kind.GAUGE, Temporality.NONE, False)


def ref(metric: str, **spec: Any) -> dict[str, Any]:
    return {"metricSource": {"spec": {"metric": metric} | spec}}


def slo(indicator: dict[str, Any], *objectives: dict[str, Any], method: str = "Occurrences") -> Slo:
    return Slo.model_validate(
        {
            "name": "slo",
            "indicator": indicator,
            "timeWindow": [{"duration": "1h"}],
            "budgetingMethod": method,
            "objectives": list(objectives),
        }
    )


RATIO = {"ratioMetric": {"good": ref("good"), "total": ref("total")}}
BAD_RATIO = {"ratioMetric": {"bad": ref("bad"), "total": ref("total")}}
THRESHOLD = {"thresholdMetric": ref("memory", aggregation="mean")}


def points(*rows: tuple[int, float, float]) -> Points:
    return Points(
        {signal.number: signal for signal in (GOOD, TOTAL, GAUGE)},
        np.array([row[0] for row in rows], np.int64),
        np.array([T0 + int(row[1] * SECOND) for row in rows], np.int64),
        np.zeros(len(rows), np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


def part(asked: Slo) -> Part:
    ((found,), _) = measure.parts(asked)
    return found


def measured(asked: Slo, seen: Points, seconds: int = 10, count: int = 3, least: int = 1) -> measure.Measured:
    grid = Grid(T0, seconds * SECOND, count)
    roles = {"good": [GOOD], "bad": [GOOD], "total": [TOTAL], "value": [GAUGE], "raw": [GAUGE]}
    named = {role: roles[role] for role in part(asked).queries}
    watched = Grid(T0, 10 * SECOND, 3)
    return measure.measure(
        Request(part(asked), [grid] * len(asked.objectives), watched, 10 * SECOND, named, seen, least)
    )


SEEN = points((1, 1, 9), (2, 1, 10), (1, 11, 3), (2, 12, 10), (2, 13, 10))


def test_a_ratio_counts_good_and_total_events() -> None:
    found = measured(slo(RATIO, {"target": 0.9}), SEEN)
    (good, total) = found.units[0]
    assert (good.tolist(), total.tolist()) == ([9, 3, 0], [10, 20, 0])
    np.testing.assert_allclose(found.watched, [0.1, 0.85, np.nan])


def test_bad_events_are_taken_from_the_total() -> None:
    (good, total) = measured(slo(BAD_RATIO, {"target": 0.9}), SEEN).units[0]
    assert (good.tolist(), total.tolist()) == ([1, 17, 0], [10, 20, 0])


@pytest.mark.parametrize(("kind", "good"), [("success", [0.75, 0, 1]), ("failure", [0.25, 0, 0])])
def test_a_ready_made_ratio_counts_each_slice_by_it(kind: str, good: list[float]) -> None:
    ratio = {"ratioMetric": {"rawType": kind, "raw": ref("quality")}}
    seen = points((3, 1, 0.5), (3, 5, 1.0), (3, 25, 1.5))
    found = measured(slo(ratio, {"target": 0.9}), seen)
    assert [each.tolist() for each in found.units[0]] == [good, [1, 0, 1]]
    np.testing.assert_allclose(found.watched, [1 - good[0], np.nan, 1 - good[2]])


def test_a_composite_slo_is_measured_objective_by_objective() -> None:
    whole = Slo.model_validate(
        {
            "name": "checkout",
            "timeWindow": [{"duration": "1h"}],
            "objectives": [
                {"target": 0.9, "indicator": RATIO, "compositeWeight": 3},
                {"target": 0.9, "indicatorRef": "unknown"},
                {"target": 0.9, "indicator": RATIO},
                {
                    "targetPercent": 90,
                    "indicator": {
                        "ratioMetric": {
                            "good": ref("good"),
                            "total": {"metricSource": {"type": "Prometheus", "spec": {"query": "x"}}},
                        }
                    },
                },
            ],
        }
    )
    parts, unmeasured = measure.parts(whole)
    assert [(part.first, len(part.slo.objectives)) for part in parts] == [(0, 1), (2, 1)]
    assert [(each.index, each.reason) for each in unmeasured] == [
        (1, "there is no SLI unknown"),
        (3, "it is read from Prometheus, which is not measured"),
    ]
    identities = {measure.indicator_identity(UUID(int=1), part) for part in parts}
    assert len(identities) == 2


def test_what_cannot_be_measured_is_all_objectives_of_the_slo() -> None:
    ratio = {
        "ratioMetric": {"rawType": "success", "raw": {"metricSource": {"metricSourceRef": "x", "spec": {"q": 1}}}}
    }
    parts, unmeasured = measure.parts(slo(ratio, {"target": 0.9}, {"target": 0.99}))
    assert parts == []
    assert [each.index for each in unmeasured] == [0, 1]


def test_few_events_give_the_detector_nothing_to_judge() -> None:
    np.testing.assert_allclose(measured(slo(RATIO, {"target": 0.9}), SEEN, least=15).watched, [np.nan, 0.85, np.nan])


def test_ratio_time_slices_count_by_their_good_part() -> None:
    objective = {"target": 0.9, "timeSliceWindow": "10s"}
    (good, total) = measured(slo(RATIO, objective, method="RatioTimeslices"), SEEN).units[0]
    np.testing.assert_allclose(good, [0.9, 0.15, 0.0])
    np.testing.assert_array_equal(total, [1.0, 1.0, 0.0])


def test_a_ratio_time_slice_of_a_threshold_counts_by_its_good_samples() -> None:
    objective = {"op": "lte", "value": 0.8, "target": 0.9, "timeSliceWindow": "30s"}
    asked = slo(THRESHOLD, objective, method="RatioTimeslices")
    whole = slo(THRESHOLD, objective | {"timeSliceWindow": "10s"}, method="Timeslices")
    (good, total) = measured(asked, LEVELS, seconds=30, count=1).units[0]
    (each, seen) = measured(whole, LEVELS).units[0]
    np.testing.assert_allclose(good, [each.sum() / seen.sum()])
    np.testing.assert_array_equal(total, [1.0])


def test_time_slices_of_a_ratio_count_as_wholes() -> None:
    objective = {"target": 0.9, "timeSliceTarget": 0.8, "timeSliceWindow": "10s"}
    (good, total) = measured(slo(RATIO, objective, method="Timeslices"), SEEN).units[0]
    assert (good.tolist(), total.tolist()) == ([1, 0, 0], [1, 1, 0])


LEVELS = points((3, 1, 0.5), (3, 11, 0.7), (3, 21, 0.9), (3, 22, 0.99))


def test_each_slice_of_a_threshold_is_a_unit_for_each_objective() -> None:
    asked = slo(THRESHOLD, {"op": "lt", "value": 0.7, "target": 0.9}, {"op": "lte", "value": 0.7, "target": 0.9})
    strict, loose = measured(asked, LEVELS).units
    assert (strict[0].tolist(), strict[1].tolist()) == ([1, 0, 0], [1, 1, 1])
    assert loose[0].tolist() == [1, 1, 0]


def test_a_time_slice_of_a_threshold_is_good_when_enough_of_its_parts_are() -> None:
    objective: dict[str, Any] = {"op": "lt", "value": 0.8, "target": 0.9}
    objective |= {"timeSliceTarget": 0.6, "timeSliceWindow": "30s"}
    (good, total) = measured(slo(THRESHOLD, objective, method="Timeslices"), LEVELS, seconds=30, count=1).units[0]
    assert (good.tolist(), total.tolist()) == ([1], [1])
    stricter = slo(THRESHOLD, objective | {"timeSliceTarget": 0.7}, method="Timeslices")
    assert measured(stricter, LEVELS, seconds=30, count=1).units[0][0].tolist() == [0]
    whole = slo(
        THRESHOLD, {key: objective[key] for key in objective if key != "timeSliceTarget"}, method="Timeslices"
    )
    assert measured(whole, LEVELS, seconds=30, count=1).units[0][0].tolist() == [1]


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_measured_is_nothing_counted(count: int) -> None:
    objective = {"target": 0.9, "timeSliceTarget": 0.8, "timeSliceWindow": "10s"}
    for asked in (
        slo(RATIO, {"target": 0.9}),
        slo(RATIO, objective, method="Timeslices"),
        slo(THRESHOLD, {"op": "lt", "value": 0.7, "target": 0.9}),
        slo(THRESHOLD, objective | {"op": "lt", "value": 0.7}, method="Timeslices"),
    ):
        (good, total) = measured(asked, points(), count=count).units[0]
        assert (good.sum(), total.sum(), len(good)) == (0, 0, count)


def test_the_detector_looks_where_the_objective_can_break() -> None:
    latency = slo(THRESHOLD, {"op": "lte", "value": 0.25, "target": 0.9}, {"op": "lte", "value": 0.5, "target": 0.99})
    found = measure.alarm_config(part(latency))
    assert (found.direction, found.min_absolute, found.limit) == ("up", 0.025, 0.25)
    free = measure.alarm_config(part(slo(THRESHOLD, {"op": "gt", "value": 100, "target": 0.9})))
    assert (free.direction, free.limit) == ("down", 100)
    ratio = measure.alarm_config(part(slo(RATIO, {"target": 0.9}, {"target": 0.99})))
    assert ratio.direction == "up"
    assert ratio.min_absolute == pytest.approx(0.01)


def test_only_what_is_counted_makes_another_definition() -> None:
    plain = slo(THRESHOLD, {"op": "lte", "value": 0.25, "target": 0.9})
    target = slo(THRESHOLD, {"op": "lte", "value": 0.25, "target": 0.99})
    value = slo(THRESHOLD, {"op": "lte", "value": 0.3, "target": 0.9})

    def hashed(asked: Slo, step: int = 10) -> bytes:
        return measure.definition(part(asked), asked.objectives[0], step)

    assert hashed(plain) == hashed(target)
    assert len({hashed(plain), hashed(value), hashed(plain, 20)}) == 3


def test_each_requirement_has_indicators_of_its_own() -> None:
    one, other = UUID(int=1), UUID(int=2)
    plain, query = slo(THRESHOLD, {"op": "lt", "value": 1, "target": 0.9}), slo(RATIO, {"target": 0.9})
    identities = {measure.indicator_identity(id, part(asked)) for id in (one, other) for asked in (plain, query)}
    assert len(identities) == 4
    assert (measure.aggregation(part(plain)), measure.aggregation(part(query))) == ("mean", "error_ratio")
