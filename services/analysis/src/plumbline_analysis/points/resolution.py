"""From a decoded batch to rows: which series each point belongs to, and the columns to store. Pure, CPU-bound."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import orjson

from plumbline_analysis.points.directory import Directory
from plumbline_analysis.sources import batch as batches
from plumbline_analysis.sources.batch import Batch, Block, Head, Histogram, Layout

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

UNKNOWN, REFUSED = 0, -1


@dataclass(frozen=True, slots=True)
class Series:
    """A series that this process does not know yet."""

    identity: bytes
    head: Head
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class NumberRows:
    signal: Int64
    time: Int64
    start: Int64
    value: Float64


@dataclass(frozen=True, slots=True)
class HistogramRows:
    """`layout[i]` is the place of point i's layout in `layouts`."""

    signal: Int64
    time: Int64
    start: Int64
    points: list[Histogram]
    layout: Int64
    layouts: list[Layout]


@dataclass(slots=True)
class Resolved:
    """`numbers[i]` are the signals of block i's points; `series` by identity, and `keys` where each is wanted."""

    batch: Batch
    numbers: list[Int64] = field(default_factory=list)
    series: dict[bytes, Series] = field(default_factory=dict)
    keys: list[dict[Hashable, bytes]] = field(default_factory=list)


def identity(head: Head, attributes: Mapping[str, str]) -> bytes:
    """16 bytes that are equal for the same series, in whatever order and encoding its attributes came."""
    whole = [
        head.source,
        head.metric,
        head.unit,
        head.kind,
        head.temporality,
        head.monotonic,
        head.scope,
        head.resource,
        sorted(attributes.items()),
    ]
    return blake2b(orjson.dumps(whole), digest_size=16).digest()


def resolve(batch: Batch, directory: Directory) -> Resolved:
    """Look up every point's series; points of series that can't be stored are rejected.

    Raises `Undecodable` where the attributes of a new series are damaged.
    """
    found = Resolved(batch)
    for block in batch.blocks:
        numbers = np.array(directory.numbers(block.head, block.keys), np.int64)
        keys: dict[Hashable, bytes] = {}
        if (unknown := np.flatnonzero(numbers == UNKNOWN)).size:
            keys = _describe(found, block, numbers, unknown)
        found.numbers.append(numbers)
        found.keys.append(keys)
    return found


def _describe(found: Resolved, block: Block, numbers: Int64, unknown: Int64) -> dict[Hashable, bytes]:
    keys: dict[Hashable, bytes] = {}
    faults: dict[Hashable, str] = {}
    for index in unknown.tolist():
        key = block.keys[index]
        if key not in keys and key not in faults:
            attributes = block.attributes(key)
            if (fault := batches.attributes_fault(attributes)) is not None:
                faults[key] = fault
            else:
                keys[key] = identity(block.head, attributes)
                found.series[keys[key]] = Series(keys[key], block.head, attributes)
        if key in faults:
            numbers[index] = REFUSED
            found.batch.accepted -= 1
            found.batch.reject(1, faults[key], block.head.metric)
    return keys


def place(found: Resolved, numbers: Mapping[bytes, int]) -> None:
    """Put the now known signals where they are wanted."""
    for block, row, keys in zip(found.batch.blocks, found.numbers, found.keys, strict=True):
        if keys:
            for index in np.flatnonzero(row == UNKNOWN).tolist():
                row[index] = numbers[keys[block.keys[index]]]


def number_rows(found: Resolved) -> NumberRows | None:
    """All number points in the order of (signal, time), one for each pair; None where there are none.

    Of two points of one series and time the first in the request stays.
    """
    picked = [
        (row, block.time, block.start, block.values)
        for block, row in zip(found.batch.blocks, found.numbers, strict=True)
        if isinstance(block.values, np.ndarray)
    ]
    if not picked:
        return None
    signal, time, start, value = (np.concatenate(column) for column in zip(*picked, strict=True))
    order = _order(signal, time)
    return NumberRows(signal[order], time[order], start[order], value[order]) if order.size else None


def histogram_rows(found: Resolved) -> HistogramRows | None:
    """As `number_rows`, of histograms."""
    rows, times, starts = [], [], []
    points: list[Histogram] = []
    for block, row in zip(found.batch.blocks, found.numbers, strict=True):
        if isinstance(block.values, list):
            rows.append(row)
            times.append(block.time)
            starts.append(block.start)
            points += block.values
    if not points:
        return None
    signal, time, start = np.concatenate(rows), np.concatenate(times), np.concatenate(starts)
    order = _order(signal, time)
    if not order.size:
        return None
    places: dict[Layout, int] = {}
    points = [points[index] for index in order.tolist()]
    layout = np.array([places.setdefault(point.layout, len(places)) for point in points], np.int64)
    return HistogramRows(signal[order], time[order], start[order], points, layout, list(places))


def _order(signal: Int64, time: Int64) -> Int64:
    order = np.lexsort((time, signal))
    order = order[signal[order] != REFUSED]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(signal[order]) != 0) | (np.diff(time[order]) != 0)
    return np.asarray(order[fresh], np.int64)
