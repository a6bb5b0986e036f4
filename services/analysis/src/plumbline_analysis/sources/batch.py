"""What every source decodes into: the points of one request as columns, with each refused point accounted for.

Times are microseconds since the Unix epoch (int64); OTLP's nanoseconds are cut off. Start time 0 means "not given".
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from plumbline_common.errors import Invalid

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

SERVICE = "service.name"

MAX_METRIC_NAME = 255
MAX_UNIT = 63
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_KEY = 255
MAX_ATTRIBUTE_VALUE = 1024
MAX_BUCKETS = 1024
MAX_REASONS = 10

# They say how a process was built and started, not which series this is; some of them change at every start.
_DESCRIPTIVE = (
    "telemetry.",
    "process.command",
    "process.executable",
    "process.owner",
    "process.parent",
    "process.runtime",
    "os.",
)


class Undecodable(Invalid):
    slug = "undecodable-telemetry"
    title = "The telemetry could not be decoded"


class Unstorable(ValueError):
    """Why no point of a series can be stored."""


class Kind(StrEnum):
    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"
    BUCKET = "bucket"
    """One bucket of a classic histogram of Prometheus: the counter of the observations up to its attribute `le`."""
    INDICATOR = "indicator"
    """A derived signal: the series that an SLO of a requirement judges."""


class Temporality(StrEnum):
    NONE = "none"
    DELTA = "delta"
    CUMULATIVE = "cumulative"


@dataclass(frozen=True, slots=True)
class Head:
    """What the points of one metric of one resource share. `resource` is sorted by key."""

    source: str
    metric: str
    unit: str
    kind: Kind
    temporality: Temporality
    monotonic: bool
    scope: str
    resource: tuple[tuple[str, str], ...]


class Layout(NamedTuple):
    """The buckets of a histogram: explicit upper `bounds`, or the `scale` of an exponential one.

    A tuple, for it is hashed for every point.
    """

    bounds: tuple[float, ...] = ()
    scale: int | None = None
    zero_threshold: float = 0.0


@dataclass(slots=True)
class Histogram:
    """One histogram point. `sum`, `min` and `max` are NaN where the sender gave none.

    `counts[i]` belongs to the explicit bucket i, or to the exponential bucket `offset + i`.
    """

    count: int
    sum: float
    min: float
    max: float
    layout: Layout
    counts: tuple[int, ...]
    offset: int = 0
    zero_count: int = 0
    negative_offset: int = 0
    negative_counts: tuple[int, ...] = ()


Described = tuple[Head, dict[str, str]]
"""What a series is: its head, and the attributes of its points."""


@dataclass(slots=True)
class Block:
    """Points of the series of one service that are known under one group. Column i of each list is point i; `keys[i]`
    names its series.

    `describe` turns a key into what its series is. It raises `Unstorable` where no such series can be stored, and
    `Undecodable` where the key is damaged.
    """

    group: Hashable
    service: str
    describe: Callable[[Any], Described]
    keys: list[Hashable]
    start: Int64
    time: Int64
    values: Float64 | list[Histogram]


@dataclass(slots=True)
class Batch:
    blocks: list[Block] = field(default_factory=list)
    accepted: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    """The first metric that each reason met."""

    def reject(self, count: int, reason: str, metric: str) -> None:
        """Account for points that are left out."""
        if count:
            self.rejected += count
            if reason not in self.reasons and len(self.reasons) >= MAX_REASONS:
                reason = "other reasons"
            self.reasons[reason] = self.reasons.get(reason, 0) + count
            self.examples.setdefault(reason, metric[:100])

    @property
    def message(self) -> str:
        """What was left out and why, for the sender's log; empty where nothing was."""
        return "; ".join(
            f"{count} points: {reason} (first in {self.examples[reason]!r})" for reason, count in self.reasons.items()
        )


@dataclass(frozen=True)
class Window:
    """Which timestamps are taken, in microseconds since the epoch, both ends included."""

    earliest: int
    latest: int
    past_hours: float
    future_minutes: float

    @classmethod
    def around(cls, now: float, past_hours: float, future_minutes: float) -> "Window":
        """`now` in seconds since the epoch."""
        return cls(
            int((now - past_hours * 3600) * 1e6), int((now + future_minutes * 60) * 1e6), past_hours, future_minutes
        )


def relevant(attributes: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The resource attributes that tell one series from another, sorted by key."""
    return tuple(sorted(dict(pair for pair in attributes if not pair[0].startswith(_DESCRIPTIVE)).items()))


def series_fault(head: Head, attributes: dict[str, str]) -> str | None:
    """Why a series can't be stored; None where it can."""
    return head_fault(head) or attributes_fault(attributes)


def head_fault(head: Head) -> str | None:
    """Why no point of this metric can be stored; None where they can."""
    if not head.metric:
        return "the metric has no name"
    if len(head.metric) > MAX_METRIC_NAME:
        return f"the metric's name is longer than {MAX_METRIC_NAME} characters"
    if len(head.unit) > MAX_UNIT:
        return f"the metric's unit is longer than {MAX_UNIT} characters"
    if "\x00" in head.metric or "\x00" in head.unit or "\x00" in head.scope[:MAX_ATTRIBUTE_VALUE]:
        return "a name or unit holds the NUL character"
    if head.kind is not Kind.GAUGE and head.temporality is Temporality.NONE:
        return "the aggregation temporality is not specified"
    if (fault := attributes_fault(dict(head.resource))) is not None:
        return f"resource: {fault}"
    return None


def attributes_fault(attributes: dict[str, str]) -> str | None:
    """Why a series with these attributes can't be stored; None where it can."""
    if len(attributes) > MAX_ATTRIBUTES:
        return f"more than {MAX_ATTRIBUTES} attributes"
    for key, value in attributes.items():
        if not key or len(key) > MAX_ATTRIBUTE_KEY:
            return f"an attribute's key is empty or longer than {MAX_ATTRIBUTE_KEY} characters"
        if len(value) > MAX_ATTRIBUTE_VALUE:
            return f"an attribute's value is longer than {MAX_ATTRIBUTE_VALUE} characters"
        if "\x00" in key or "\x00" in value:
            return "an attribute holds the NUL character"
    return None


def time_fault(time: int, window: Window) -> str | None:
    """Why a point of this time, in microseconds since the epoch, is not taken; None where it is."""
    if time < window.earliest:
        return f"the time is more than {window.past_hours:g} h in the past"
    if time > window.latest:
        return f"the time is more than {window.future_minutes:g} min in the future"
    return None


def add(
    batch: Batch,
    window: Window,
    head: Head,
    attributes: Callable[[Any], dict[str, str]],
    keys: list[Hashable],
    start_nano: UInt64,
    time_nano: UInt64,
    values: Float64 | list[Histogram],
) -> None:
    """Add the points of one metric to `batch`, without those whose time or value can't be taken."""
    time, start = (time_nano // 1000).astype(np.int64), (start_nano // 1000).astype(np.int64)
    service = dict(head.resource).get(SERVICE, "")

    def describe(key: Any) -> Described:
        return head, attributes(key)

    add_block(batch, window, Block(head, service, describe, keys, start, time, values))


def add_block(batch: Batch, window: Window, block: Block) -> None:
    """Add the points of a block to `batch`, without those whose time or value can't be taken."""
    if not block.keys:
        return
    time, start, values = block.time, block.start, block.values
    fit = np.ones(len(block.keys), bool)
    for wrong, reason in (
        (time == 0, "the point has no time"),
        (time < window.earliest, f"the time is more than {window.past_hours:g} h in the past"),
        (time > window.latest, f"the time is more than {window.future_minutes:g} min in the future"),
        (start > time, "the start time is after the time"),
        (~np.isfinite(values) if isinstance(values, np.ndarray) else None, "the value is not a finite number"),
    ):
        if wrong is not None and (faulty := np.flatnonzero(fit & wrong)).size:
            batch.reject(faulty.size, reason, metric_of(block, block.keys[faulty[0]]))
            fit &= ~wrong
    if not fit.all():
        block = chosen(block, np.flatnonzero(fit))
    if block.keys:
        batch.accepted += len(block.keys)
        batch.blocks.append(block)


def chosen(block: Block, places: Int64) -> Block:
    """Some of a block's points."""
    values = block.values
    return Block(
        block.group,
        block.service,
        block.describe,
        [block.keys[place] for place in places.tolist()],
        block.start[places],
        block.time[places],
        values[places] if isinstance(values, np.ndarray) else [values[place] for place in places.tolist()],
    )


def metric_of(block: Block, key: Hashable) -> str:
    """The metric of one of a block's keys, to name it to the sender; empty where it has none."""
    try:
        return block.describe(key)[0].metric
    except Unstorable:
        return ""


_MAX_COUNT = 2**63 - 1


def histogram_fault(point: Histogram) -> str | None:
    """Why this histogram point contradicts itself; None where it does not."""
    layout = point.layout
    if len(point.counts) + len(point.negative_counts) > MAX_BUCKETS:
        return f"the histogram has more than {MAX_BUCKETS} buckets"
    if not 0 <= point.count <= _MAX_COUNT:
        return "the count is out of range"
    # In OTLP a sum may be absent (NaN here), an infinite one helps nobody.
    if math.isinf(point.sum) or math.isinf(point.min) or math.isinf(point.max):
        return "the value is not a finite number"
    if sum(point.counts) + sum(point.negative_counts) + point.zero_count != point.count:
        return "the bucket counts do not add up to the count"
    if (fault := _layout_fault(layout)) is not None:
        return fault
    if layout.scale is None:
        if len(point.counts) != len(layout.bounds) + 1:
            return "the number of bucket counts is not the number of bounds plus one"
        return None
    for offset, counts in ((point.offset, point.counts), (point.negative_offset, point.negative_counts)):
        # 2 ** 1024 is where a float64 ends.
        if counts and max(abs(offset), abs(offset + len(counts))) * 2.0**-layout.scale > 1024:
            return "a bucket lies beyond the range of floating point"
    return None


@lru_cache(maxsize=1024)
def _layout_fault(layout: Layout) -> str | None:
    # Few layouts serve all points: each is checked once.
    if layout.scale is not None:
        if not -10 <= layout.scale <= 20 or not 0 <= layout.zero_threshold < math.inf:
            return "the scale or the zero threshold is out of range"
        return None
    bounds = layout.bounds
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        return "the bounds are not finite and ascending"
    return None
