import json
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from plumbline_analysis.sources import otlp, otlp_json
from plumbline_analysis.sources.batch import Batch, Undecodable, Window

NOW = 1_800_000_000 * 10**9
WINDOW = Window.around(NOW / 1e9, 48, 10)
EVERYTHING: dict[str, Any] = {
    "resourceMetrics": [
        {
            "resource": {
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "shop"}},
                    {"key": "zones", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"boolValue": True}]}}},
                ]
            },
            "scopeMetrics": [
                {
                    "scope": {"name": "shop.meter"},
                    "metrics": [
                        {
                            "name": "orders",
                            "unit": "{order}",
                            "sum": {
                                "aggregationTemporality": 2,
                                "isMonotonic": True,
                                "dataPoints": [
                                    {
                                        "attributes": [{"key": "status", "value": {"intValue": "200"}}],
                                        "startTimeUnixNano": str(NOW - 10**9),
                                        "timeUnixNano": str(NOW),
                                        "asInt": "7",
                                    }
                                ],
                            },
                        },
                        {
                            "name": "temperature",
                            "gauge": {"dataPoints": [{"timeUnixNano": str(NOW), "asDouble": 21.5}]},
                        },
                        {
                            "name": "latency",
                            "unit": "s",
                            "histogram": {
                                "aggregationTemporality": 1,
                                "dataPoints": [
                                    {
                                        "timeUnixNano": str(NOW),
                                        "count": "3",
                                        "sum": 1.5,
                                        "bucketCounts": ["1", "2", "0"],
                                        "explicitBounds": [0.5, 1],
                                        "min": 0.1,
                                        "max": 0.9,
                                    }
                                ],
                            },
                        },
                        {
                            "name": "size",
                            "exponentialHistogram": {
                                "aggregationTemporality": 1,
                                "dataPoints": [
                                    {
                                        "timeUnixNano": str(NOW),
                                        "count": "4",
                                        "scale": -1,
                                        "zeroCount": "1",
                                        "positive": {"offset": 2, "bucketCounts": ["1", "2"]},
                                    }
                                ],
                            },
                        },
                    ],
                }
            ],
        }
    ]
}


def decode(document: Any) -> Batch:
    return otlp_json.decode(orjson.dumps(document), WINDOW)


def plain(batch: Batch) -> list[Any]:
    return [
        (
            [block.describe(key) for key in block.keys],
            block.start.tolist(),
            block.time.tolist(),
            repr(block.values),
        )
        for block in batch.blocks
    ]


def test_both_encodings_say_the_same() -> None:
    message = json_format.ParseDict(EVERYTHING, ExportMetricsServiceRequest())
    assert plain(decode(EVERYTHING)) == plain(otlp.decode(message.SerializeToString(), WINDOW))


def gauge(**point: Any) -> dict[str, Any]:
    metric = {"name": "queue", "gauge": {"dataPoints": [{"timeUnixNano": str(NOW), "asDouble": 1.0} | point]}}
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}


def test_unknown_members_are_ignored() -> None:
    assert decode(gauge(somethingNew={"a": [1]}) | {"more": 1}).accepted == 1


def test_numbers_stand_for_strings_and_words_for_numbers() -> None:
    assert decode(gauge(timeUnixNano=NOW)).accepted == 1
    assert decode(gauge(asDouble="2.5")).blocks[0].values.tolist() == [2.5]  # type: ignore[union-attr]
    found = decode(gauge(asDouble="NaN"))
    assert (found.accepted, found.rejected) == (0, 1)


def test_null_is_the_same_as_absent() -> None:
    assert decode(gauge(attributes=None, startTimeUnixNano=None, flags=None)).accepted == 1
    assert decode({"resourceMetrics": None}).accepted == 0


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({"resourceMetrics": {}}, "/resourceMetrics"),
        ({"resourceMetrics": [1]}, "/resourceMetrics/0"),
        (gauge(asDouble="many"), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/asDouble"),
        (gauge(asDouble=True), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/asDouble"),
        (gauge(timeUnixNano="-1"), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/timeUnixNano"),
        (gauge(timeUnixNano=2**64), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/timeUnixNano"),
        (gauge(asInt=1.5), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/asInt"),
        (gauge(attributes=["x"]), "/resourceMetrics/0/scopeMetrics/0/metrics/0/gauge/dataPoints/0/attributes/0"),
    ],
)
def test_a_member_of_a_wrong_type_is_named(document: Any, pointer: str) -> None:
    with pytest.raises(Undecodable) as refused:
        otlp_json.decode(json.dumps(document).encode(), WINDOW)
    assert refused.value.pointer == pointer


def test_attributes_nested_without_end_are_undecodable() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(60):
        value = {"arrayValue": {"values": [value]}}
    with pytest.raises(Undecodable, match="deeply"):
        decode(gauge(attributes=[{"key": "deep", "value": value}]))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'"\\ud800"', b"[" * 5000])
def test_what_is_not_json_is_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable):
        otlp_json.decode(body, WINDOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_POINT = ["asInt", "asDouble", "timeUnixNano", "startTimeUnixNano", "attributes", "flags"]
_HISTOGRAM = ["count", "sum", "min", "bucketCounts", "explicitBounds", "scale", "positive", "zeroThreshold"]
_MEMBERS = st.sampled_from([*_POINT, *_HISTOGRAM])


@given(
    point=st.dictionaries(_MEMBERS, _JSON, max_size=6),
    shape=st.sampled_from(["gauge", "sum", "histogram", "exponentialHistogram", "summary"]),
    temporality=st.integers(-1, 3),
)
def test_whatever_a_point_holds_is_stored_or_refused(point: dict[str, Any], shape: str, temporality: int) -> None:
    metric = {"name": "m", shape: {"aggregationTemporality": temporality, "dataPoints": [point]}}
    whole = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    body = json.dumps(whole).encode(errors="surrogatepass")
    try:
        found = otlp_json.decode(body, WINDOW)
    except Undecodable:
        return
    assert found.accepted + found.rejected <= 1


def test_infinity_is_a_number_that_no_point_may_have() -> None:
    found = decode(gauge(asDouble="-Infinity"))
    assert (found.accepted, found.rejected) == (0, 1)
    assert "not a finite number" in found.message
