import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.sources import remote_write
from plumbline_analysis.sources.batch import (
    Head,
    Histogram,
    Kind,
    Layout,
    Temporality,
    Undecodable,
    Unstorable,
    Window,
)
from plumbline_analysis.sources.remote_write import Write
from prometheus import STALE, Symbols, double, native, part, sample, series, whole, write_request

NOW = 1_790_000_000_000
WINDOW = Window.around(NOW / 1000, 48, 10)
EVER = Window(0, 2**62, 0, 0)
LABELS = {"__name__": "http_requests_total", "code": "200", "instance": "web-1:80", "job": "shop"}


def decoded(*every: bytes) -> Write:
    return remote_write.decode_v1(write_request(*every), WINDOW)


def described(found: Write) -> list[tuple[Head, dict[str, str]]]:
    return [block.describe(key) for block in found.blocks for key in block.keys]


def values(found: Write) -> list[Any]:
    return [value for block in found.blocks for value in block.values]


def test_a_counter_of_1_0_is_read() -> None:
    found = decoded(series(LABELS, [sample(5.0, NOW), sample(7.0, NOW + 1000)]))
    (block,) = found.blocks
    assert (found.accepted, found.rejected, block.service) == (2, 0, "shop")
    assert (block.time.tolist(), block.start.tolist()) == ([NOW * 1000, NOW * 1000 + 1_000_000], [0, 0])
    assert block.values.tolist() == [5.0, 7.0]  # type: ignore[union-attr]
    head, attributes = block.describe(block.keys[0])
    assert head == Head(
        "prometheus",
        "http_requests_total",
        "",
        Kind.SUM,
        Temporality.CUMULATIVE,
        True,
        "",
        (("service.instance.id", "web-1:80"), ("service.name", "shop")),
    )
    assert attributes == {"code": "200"}


def test_both_versions_of_a_series_are_one() -> None:
    symbols = Symbols()
    v2 = symbols.request(symbols.series(LABELS, [sample(5.0, NOW)], type=1))
    assert described(remote_write.decode_v2(v2, WINDOW)) == described(decoded(series(LABELS, [sample(5.0, NOW)])))


def test_metadata_and_start_times_of_2_0_are_read() -> None:
    symbols = Symbols()
    request = symbols.request(
        symbols.series({"__name__": "spins"}, [sample(1.0, NOW, NOW - 5000)], type=1, unit="seconds"),
        symbols.series({"__name__": "turns"}, [sample(2.0, NOW)], type=1, unit="turns", created_ms=NOW - 9000),
        symbols.series({"__name__": "odd_total"}, [sample(3.0, NOW)], type=2),
    )
    found = remote_write.decode_v2(request, WINDOW)
    heads = [head for head, _ in described(found)]
    assert [(head.kind, head.unit) for head in heads] == [(Kind.SUM, "s"), (Kind.SUM, "turns"), (Kind.GAUGE, "")]
    assert found.blocks[0].start.tolist() == [(NOW - 5000) * 1000, (NOW - 9000) * 1000, 0]


@pytest.mark.parametrize(
    ("labels", "metric", "kind", "unit"),
    [
        ({"__name__": "queue_length"}, "queue_length", Kind.GAUGE, ""),
        ({"__name__": "memory_bytes"}, "memory_bytes", Kind.GAUGE, "By"),
        ({"__name__": "cpu_seconds_total"}, "cpu_seconds_total", Kind.SUM, "s"),
        ({"__name__": "wait_seconds_bucket", "le": "0.5"}, "wait_seconds", Kind.BUCKET, "s"),
        ({"__name__": "wait_seconds_bucket", "le": "soon"}, "wait_seconds_bucket", Kind.GAUGE, "s"),
        ({"__name__": "wait_seconds_bucket"}, "wait_seconds_bucket", Kind.GAUGE, "s"),
        ({"__name__": "wait_seconds_sum"}, "wait_seconds_sum", Kind.SUM, "s"),
        ({"__name__": "wait_seconds_count"}, "wait_seconds_count", Kind.SUM, ""),
        ({"__name__": "wait_seconds", "quantile": "0.9"}, "wait_seconds", Kind.GAUGE, "s"),
    ],
)
def test_what_a_series_of_1_0_is_stands_in_its_name(labels: Any, metric: str, kind: Kind, unit: str) -> None:
    ((head, _),) = described(decoded(series(labels, [sample(1.0, NOW)])))
    assert (head.metric, head.kind, head.unit) == (metric, kind, unit)


def test_bounds_have_one_notation() -> None:
    bounds = [{"__name__": "wait_bucket", "le": le} for le in ("1", "1.0", "1e0", "+Inf", "Inf")]
    found = described(decoded(*(series(labels, [sample(1.0, NOW)]) for labels in bounds)))
    assert [attributes["le"] for _, attributes in found] == ["1.0", "1.0", "1.0", "+Inf", "+Inf"]


def test_the_scope_is_read_and_empty_labels_are_none() -> None:
    labels = {"__name__": "up", "env": "", "otel_scope_name": "meter", "otel_scope_version": "1"}
    ((head, attributes),) = described(decoded(series(labels, [sample(1.0, NOW)])))
    assert (head.scope, head.resource, attributes) == ("meter", (), {})


def test_nan_is_no_value() -> None:
    found = decoded(series(LABELS, [sample(STALE, NOW), sample(math.nan, NOW + 1), sample(4.0, NOW + 2)]))
    assert (values(found), found.empty_samples, found.rejected) == ([4.0], 2, 0)
    stale = decoded(series(LABELS, histograms=[native(NOW, 0, STALE, 0)]))
    assert (stale.blocks, stale.empty_histograms, stale.rejected) == ([], 1, 0)


def test_points_that_cannot_be_stored_are_counted_with_the_reason() -> None:
    late, never = NOW - 50 * 3_600_000, -5
    found = decoded(series(LABELS, [sample(math.inf, NOW), sample(1.0, late), sample(1.0, never), sample(2.0, NOW)]))
    assert (found.accepted, found.rejected) == (1, 3)
    assert set(found.reasons) == {
        "the value is not a finite number",
        "the time is more than 48 h in the past",
        "the point has no time",
    }
    assert "(first in 'http_requests_total')" in found.message


def test_exponential_buckets_begin_where_those_of_prometheus_end() -> None:
    point = native(
        NOW,
        count=12,
        total=18.4,
        schema=1,
        positive=([(0, 2), (1, 1)], [1, 1, -1]),
        negative=([(-3, 1)], [4]),
        zero=(0.001, 4),
    )
    found = decoded(series({"__name__": "wait_seconds", "job": "shop"}, histograms=[point]))
    ((head, _),) = described(found)
    assert (head.kind, head.temporality, head.metric) == (
        Kind.EXPONENTIAL_HISTOGRAM,
        Temporality.CUMULATIVE,
        "wait_seconds",
    )
    (histogram,) = values(found)
    assert histogram == Histogram(
        count=12,
        sum=18.4,
        min=histogram.min,
        max=histogram.max,
        layout=Layout((), 1, 0.001),
        counts=(1, 2, 0, 1),
        offset=-1,
        zero_count=4,
        negative_offset=-4,
        negative_counts=(4,),
    )


def test_custom_buckets_are_explicit_ones() -> None:
    point = native(NOW, 5, 3.5, -53, positive=([(1, 2)], [2, 1]), bounds=(0.1, 0.5, 1.0))
    found = decoded(series({"__name__": "wait_seconds"}, histograms=[point]))
    (histogram,) = values(found)
    assert (histogram.layout.bounds, histogram.counts) == ((0.1, 0.5, 1.0), (0, 2, 3, 0))
    assert described(found)[0][0].kind is Kind.HISTOGRAM


def test_observations_that_were_nan_are_in_no_bucket() -> None:
    found = decoded(series(LABELS, histograms=[native(NOW, 3, math.nan, 0, positive=([(0, 1)], [2]))]))
    assert (values(found)[0].count, found.rejected) == (2, 0)


def test_float_histograms_of_whole_observations_are_read() -> None:
    whole_ones = double(2, 3.0) + double(3, 1.5) + part(11, whole(1, 0) + whole(2, 2)) + whole(15, NOW)
    counts = b"".join(varied[1:] for varied in (double(0, 1.0), double(0, 2.0)))
    found = decoded(series(LABELS, histograms=[whole_ones + part(13, counts)]))
    assert values(found)[0].counts == (1, 2)


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (native(NOW, 1, 1.0, 9, positive=([(0, 1)], [1])), "the schema of the histogram is not known"),
        (
            native(NOW, 1, 1.0, 0, positive=([(0, 2)], [1])),
            "not as long as its buckets",
        ),
        (native(NOW, 1, 1.0, 0, positive=([(0, 1)], [-1])), "a bucket of the histogram has a negative count"),
        (native(NOW, 1, 1.0, 0, positive=([(0, 1), (5000, 1)], [1, 0])), "1024 buckets"),
        (native(NOW, 1, 1.0, 0, positive=([(0, 1), (-9, 1)], [1, 0])), "overlap"),
        (native(NOW, 1, 1.0, -53, positive=([(3, 1)], [1]), bounds=(1.0,)), "a bucket without a bound"),
        (native(NOW, 9, 1.0, 0, positive=([(0, 1)], [1])), "the bucket counts do not add up to the count"),
        (native(NOW, 1, 1.0, 0, positive=([(0, 1)], [1]), more=whole(14, 3)), "gauge histograms are not supported"),
        (double(2, 0.5) + double(3, 1.0) + whole(15, NOW), "fractions of observations"),
    ],
)
def test_histograms_that_make_no_sense_are_named(point: bytes, reason: str) -> None:
    found = decoded(series(LABELS, [sample(1.0, NOW)], [point]))
    assert (found.accepted, found.rejected) == (1, 1)
    assert reason in found.message
    assert "http_requests_total" in found.message


def test_what_is_no_request_is_undecodable() -> None:
    for body in (b"\x0a\xff", b"\x0a\x03\x0a\x01\x00\x00", b"not protobuf"):
        with pytest.raises(Undecodable, match=r"prometheus\.WriteRequest"):
            remote_write.decode_v1(body, WINDOW)
    with pytest.raises(Undecodable, match="to no symbol"):
        remote_write.decode_v2(part(4, "") + part(5, part(1, b"\x07\x07") + part(2, sample(1.0, NOW))), WINDOW)
    with pytest.raises(Undecodable, match="a label has no value"):
        remote_write.decode_v2(part(4, "") + part(5, part(1, b"\x00") + part(2, sample(1.0, NOW))), WINDOW)


def test_a_sample_is_read_in_every_form() -> None:
    """As most senders write it, without its value where that is 0, in another order, with a start, long ago."""
    forms = [sample(5.0, NOW), whole(2, NOW), whole(2, NOW) + double(1, 5.0), sample(5.0, NOW, NOW - 7), whole(2, 7)]
    found = [remote_write.decode_v1(write_request(series(LABELS, [form])), EVER) for form in forms]
    assert [values(each) for each in found] == [[5.0], [0.0], [5.0], [5.0], [0.0]]
    assert [each.blocks[0].time[0] // 1000 for each in found] == [NOW] * 4 + [7]
    assert found[3].blocks[0].start[0] == (NOW - 7) * 1000
    together = remote_write.decode_v1(write_request(*(series(LABELS, [form]) for form in forms)), EVER)
    assert values(together) == [5.0, 0.0, 5.0, 5.0, 0.0]
    (block,) = together.blocks
    assert len({repr(block.describe(key)) for key in block.keys}) == 1


@pytest.mark.parametrize("looks_like", ["\x12\x10\t" + "v" * 8 + "\x10" + "t" * 6, "\x12\x07\x10" + "t" * 6])
def test_a_label_that_looks_like_a_sample_is_a_label(looks_like: str) -> None:
    labels = LABELS | {"odd": looks_like}
    assert decoded(series(labels)).blocks == []
    found = decoded(series(labels, [sample(5.0, NOW)]))
    assert (values(found), described(found)[0][1]["odd"]) == ([5.0], looks_like)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(before: bytes, after: bytes) -> None:
    body = before + write_request(series(LABELS, [sample(1.0, NOW)])) + after
    for decode in (remote_write.decode_v1, remote_write.decode_v2):
        with contextlib.suppress(Undecodable):
            for block in decode(body, WINDOW).blocks:
                for key in block.keys:
                    with contextlib.suppress(Unstorable, Undecodable):
                        block.describe(key)
