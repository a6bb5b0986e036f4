"""Prometheus' native histograms as `Histogram`: https://prometheus.io/docs/specs/native_histograms/.

Bucket i of schema n ends at 2^(i 2^-n), where that of OpenTelemetry begins: so its offset is one less. Schema -53 has
bounds of its own.
"""

import math
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from plumbline_analysis.sources import batch, otlp
from plumbline_analysis.sources.batch import Histogram, Kind, Unstorable

CUSTOM_BUCKETS = -53
_GAUGE = 3
_STALE = struct.pack("<Q", 0x7FF0000000000002)


def is_stale(value: float) -> bool:
    """Whether this NaN says that the series has ended."""
    return struct.pack("<d", value) == _STALE


def kind(point: Any) -> Kind:
    return Kind.HISTOGRAM if point.schema == CUSTOM_BUCKETS else Kind.EXPONENTIAL_HISTOGRAM


def read(point: Any) -> Histogram:
    """One histogram of a request. Raises `Unstorable`."""
    if point.reset_hint == _GAUGE:
        raise Unstorable("gauge histograms are not supported")
    if not (point.schema == CUSTOM_BUCKETS or -4 <= point.schema <= 8):
        raise Unstorable("the schema of the histogram is not known")
    first, counts = _dense(point.positive_spans, point.positive_deltas, point.positive_counts)
    if point.schema == CUSTOM_BUCKETS:
        return _with_bounds(point, first, counts)
    below, negative = _dense(point.negative_spans, point.negative_deltas, point.negative_counts)
    zeros = point.zero_count_int or _whole(point.zero_count_float)
    return Histogram(
        count=_count(point, sum(counts) + sum(negative) + zeros),
        sum=point.sum,
        min=math.nan,
        max=math.nan,
        layout=otlp.exponential_layout(point.schema, point.zero_threshold),
        counts=counts,
        offset=first - 1 if counts else 0,
        zero_count=zeros,
        negative_offset=below - 1 if negative else 0,
        negative_counts=negative,
    )


def _with_bounds(point: Any, first: int, counts: tuple[int, ...]) -> Histogram:
    bounds = tuple(point.custom_values)
    after = len(bounds) + 1 - first - len(counts)
    if first < 0 or after < 0:
        raise Unstorable("the histogram has a bucket without a bound")
    return Histogram(
        count=_count(point, sum(counts)),
        sum=point.sum,
        min=math.nan,
        max=math.nan,
        layout=otlp.explicit_layout(bounds),
        counts=(0,) * first + counts + (0,) * after,
    )


def _count(point: Any, in_buckets: int) -> int:
    """Observations that were NaN are in no bucket, and make the sum NaN."""
    return in_buckets if math.isnan(point.sum) else point.count_int or _whole(point.count_float)


def _dense(spans: Sequence[Any], deltas: Sequence[int], counts: Sequence[float]) -> tuple[int, tuple[int, ...]]:
    """The index of the first bucket, and the counts from it on, without gaps."""
    whole = list(accumulate(deltas)) if deltas else [_whole(count) for count in counts]
    if sum(span.length for span in spans) != len(whole):
        raise Unstorable("the spans of the histogram are not as long as its buckets")
    if any(count < 0 for count in whole):
        raise Unstorable("a bucket of the histogram has a negative count")
    found: list[int] = []
    done = 0
    for place, span in enumerate(spans):
        gap = span.offset if place else 0
        if gap < 0 or len(found) + gap + span.length > batch.MAX_BUCKETS:
            raise Unstorable(f"the spans of the histogram overlap or are longer than {batch.MAX_BUCKETS} buckets")
        found += [0] * gap + whole[done : done + span.length]
        done += span.length
    return (spans[0].offset if spans else 0), tuple(found)


def _whole(count: float) -> int:
    if not count.is_integer():
        raise Unstorable("the histogram has fractions of observations, which are not supported")
    return int(count)
