import json
from typing import Any

import pytest

from plumbline_analysis.sources import prometheus_json
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Kind, Temporality, Undecodable
from plumbline_analysis.sources.prometheus_json import QueryRefused
from plumbline_analysis.sources.queries import PrometheusQuery


def read(*series: Any, query: dict[str, Any] | None = None, **members: Any) -> Answer:
    body = {"status": "success", "data": {"resultType": "matrix", "result": list(series)}} | members
    asked = PrometheusQuery.model_validate({"name": "orders", "query": "orders"} | (query or {}))
    return prometheus_json.decode(json.dumps(body).encode(), asked, "eu", (0, 100))


def series(values: Any, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": values}


def test_a_series_becomes_a_signal_with_opentelemetrys_names() -> None:
    labels = {"__name__": "orders", "job": "shop", "instance": "a:80", "region": "eu"}
    found = read(series([[15, "1"], [30.0005, "2.5"]], **labels), query={"unit": "{order}"})
    (block,) = found.batch.blocks
    head, attributes = block.describe(block.keys[0])
    assert head.resource == (("service.instance.id", "a:80"), ("service.name", "shop"))
    assert (head.source, head.metric, head.unit, head.scope) == (
        "prometheus", "orders", "{order}", "eu"
    )  # fmt: skip
    assert (head.kind, head.temporality) == (Kind.GAUGE, Temporality.NONE)
    assert attributes == {"region": "eu"}
    assert block.time.tolist() == [15_000_000, 30_000_000]
    assert block.values.tolist() == [1.0, 2.5]


def test_a_counter_is_a_cumulative_sum_that_began_nobody_knows_when() -> None:
    (block,) = read(series([[15, "1"]]), query={"kind": "counter"}).batch.blocks
    head, _ = block.describe(block.keys[0])
    assert (head.kind, head.temporality, head.monotonic) == (Kind.SUM, Temporality.CUMULATIVE, True)
    assert block.start.tolist() == [0]


def test_the_service_is_the_one_given_or_that_of_the_label() -> None:
    labels = {"__name__": "other", "job": "nodes", "app": "shop"}
    (given,) = read(series([[15, "1"]], **labels), query={"service": "checkout"}).batch.blocks
    head, attributes = given.describe(given.keys[0])
    assert head.resource == (("service.name", "checkout"),)
    assert attributes == {"__name__": "other", "job": "nodes", "app": "shop"}
    (named,) = read(series([[15, "1"]], **labels), query={"service_label": "app"}).batch.blocks
    assert named.describe(named.keys[0])[0].resource == (("service.name", "shop"),)


def test_what_is_no_finite_number_or_was_not_asked_for_is_left_out_and_said() -> None:
    found = read(series([[0, "1"], [15, "NaN"], [30, "+Inf"], [45, "3"], [101, "4"]], job="shop"))
    assert (found.batch.accepted, found.batch.rejected) == (1, 4)
    assert found.said == [
        "2 points: the time is not in the range that was asked for (first in 'orders');"
        " 2 points: the value is not a finite number (first in 'orders')"
    ]


def test_native_histograms_are_left_out_and_warnings_passed_on() -> None:
    found = read({"metric": {}, "histograms": [[15, {}]]}, warnings=["a store is away"])
    assert found.said[0] == "a store is away"
    assert "native histograms are not pulled" in found.said[1]


def test_a_series_that_cannot_be_stored_does_not_keep_others_from_it() -> None:
    found = read(series([[15, "1"]], job="x" * 2000), series([[15, "1"]], job="shop"))
    assert (found.series, found.batch.accepted, found.batch.rejected) == (2, 1, 1)


def test_a_refusal_is_told_as_the_server_says_it() -> None:
    with pytest.raises(QueryRefused, match="parse error") as refused:
        read(status="error", errorType="bad_data", error="1:5: parse error")
    assert refused.value.kind == "bad_data"


@pytest.mark.parametrize(
    "result",
    [
        {"data": {"resultType": "vector", "result": []}},
        {"data": {"resultType": "matrix", "result": {}}},
        {"data": {"resultType": "matrix", "result": [1]}},
        {"data": {"resultType": "matrix", "result": [{"metric": []}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {"job": 1}, "values": []}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": 1}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [1]}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "x"]]}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, {}]]}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [["x", "1"]]}]}},
        {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1e300, "1"]]}]}},
        {"data": []},
        {"status": "maybe"},
    ],
)
def test_another_schema_is_refused_with_the_reason(result: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="must"):
        read(**result)
