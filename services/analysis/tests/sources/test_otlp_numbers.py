import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from plumbline_analysis.sources import otlp_numbers

ROUTE = KeyValue(key="route", value={"string_value": "/basket"})  # type: ignore[arg-type]


def point(**members: Any) -> bytes:
    return NumberDataPoint(**members).SerializeToString()


def told(points: list[bytes]) -> list[tuple[Any, ...]]:
    """What our reading says of each point: attributes, start, time, value."""
    found = otlp_numbers.read(points)
    attributes = [tuple(map(KeyValue.FromString, otlp_numbers.key_attributes(key))) for key in found.keys]
    plain = [tuple((pair.key, pair.value.string_value) for pair in pairs) for pairs in attributes]
    values = (found.value + 0.0).tolist()  # -0.0 becomes 0.0
    return list(zip(plain, found.start.tolist(), found.time.tolist(), values, strict=True))


def official(points: list[bytes]) -> list[tuple[Any, ...]]:
    """What the generated classes say."""
    rows = []
    for each in map(NumberDataPoint.FromString, points):
        if not each.flags & otlp_numbers.NO_RECORDED_VALUE:
            attributes = tuple((pair.key, pair.value.string_value) for pair in each.attributes)
            name = each.WhichOneof("value")
            value = float(getattr(each, name)) + 0.0 if name else math.nan
            rows.append((attributes, each.start_time_unix_nano, each.time_unix_nano, value))
    return rows


def same(points: list[bytes]) -> None:
    assert repr(told(points)) == repr(official(points))


PLAIN = {"start_time_unix_nano": 5, "time_unix_nano": 7, "attributes": [ROUTE]}


@pytest.mark.parametrize(
    "points",
    [
        [],
        [point(**PLAIN, as_double=1.5), point(**PLAIN, as_double=-0.0)],
        [point(**PLAIN, as_int=-3), point(**PLAIN, as_double=2.5)],
        [point(time_unix_nano=7, as_double=1.5), point(time_unix_nano=8, as_int=0)],
        [point(**PLAIN, as_double=1.5), point(time_unix_nano=8, as_double=2.5)],
        [point(**PLAIN)],
        [b""],
        [point(**PLAIN, as_double=1.0, flags=1), point(**PLAIN, as_double=2.0)],
        [point(**PLAIN, as_double=1.0, flags=2)],
        [point(**PLAIN, as_double=1.0, exemplars=[{"as_double": 4.0, "time_unix_nano": 9}])],
        # Of a member that comes twice the last one counts; members may come in any order.
        [point(**PLAIN, as_double=1.0) + point(as_double=9.0)],
        [point(**PLAIN, as_double=1.0) + point(time_unix_nano=99)],
        [point(as_double=1.0) + point(**PLAIN)],
        [point(**PLAIN, as_double=1.0) + b"\xa8\x01\x07"],
        [b"\x09" + struct.pack("<Q", 1) + point(**PLAIN, as_double=1.0)],
    ],
)
def test_every_form_of_a_point_is_read_as_protobuf_reads_it(points: list[bytes]) -> None:
    same(points)
    same(points)  # what was learned from the first reading changes nothing


_POINTS = st.builds(
    point,
    start_time_unix_nano=st.integers(0, 2**64 - 1),
    time_unix_nano=st.integers(0, 2**64 - 1),
    as_double=st.none() | st.floats(allow_nan=False),
    attributes=st.lists(st.just(ROUTE), max_size=2),
    flags=st.sampled_from([0, 0, 0, 1, 2]),
) | st.builds(point, time_unix_nano=st.integers(1, 2**64 - 1), as_int=st.integers(-(2**63), 2**63 - 1))


@given(
    parts=st.lists(st.lists(_POINTS, min_size=1, max_size=2).map(b"".join), max_size=6),
)
def test_any_mixture_of_points_is_read_as_protobuf_reads_it(parts: list[bytes]) -> None:
    same(parts)


def test_the_memory_of_known_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_numbers, "_MAX_PLAIN", 3)
    for number in range(20):
        route = KeyValue(key="route", value={"string_value": f"/{number}"})  # type: ignore[arg-type]
        otlp_numbers.read([point(time_unix_nano=7, as_double=1.5, attributes=[route])])
        assert len(otlp_numbers._plain) <= 5
