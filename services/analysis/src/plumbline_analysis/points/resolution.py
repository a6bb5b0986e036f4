"""From a decoded batch to rows: which series each point belongs to, and the columns to store. Pure, CPU-bound."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import orjson

from plumbline_analysis.points.directory import Directory
from plumbline_analysis.sources import batch as batches
from plumbline_analysis.sources.batch import Batch, Block, Head, Histogram, Layout, Unstorable

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

UNKNOWN, REFUSED = 0, -1


@dataclass(frozen=True, slots=True)
class Series:
    """A series that this process does not know yet."""

    identity: bytes
    head: Head
    attributes: dict[str, str]
    service: str
    """`service.name` of the resource or else of the point; empty where there is none."""


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
    """`numbers[i]` are the signals of block i's points; `series` by identity, and `keys` where each is wanted.

    `faults[i]` says why no point of a key of block i can be stored.
    """

    batch: Batch
    numbers: list[Int64] = field(default_factory=list)
    series: dict[bytes, Series] = field(default_factory=dict)
    keys: list[dict[Hashable, bytes]] = field(default_factory=list)
    faults: list[dict[Hashable, str]] = field(default_factory=list)


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
        numbers = np.array(directory.numbers(block.group, block.keys), np.int64)
        keys: dict[Hashable, bytes] = {}
        faults: dict[Hashable, str] = {}
        if (unknown := np.flatnonzero(numbers == UNKNOWN)).size:
            for key in dict.fromkeys(block.keys[index] for index in unknown.tolist()):
                _describe(found, block, key, keys, faults)
        found.numbers.append(numbers)
        found.keys.append(keys)
        found.faults.append(faults)
    _refuse(found)
    return found


def _describe(
    found: Resolved, block: Block, key: Hashable, keys: dict[Hashable, bytes], faults: dict[Hashable, str]
) -> None:
    try:
        head, attributes = block.describe(key)
    except Unstorable as refused:
        faults[key] = str(refused)
        return
    if (fault := batches.series_fault(head, attributes)) is not None:
        faults[key] = fault
        return
    keys[key] = identity(head, attributes)
    service = dict(head.resource).get(batches.SERVICE) or attributes.get(batches.SERVICE, "")
    found.series[keys[key]] = Series(keys[key], head, attributes, service)


def _refuse(found: Resolved) -> None:
    """Reject the points of the keys that have a fault."""
    for block, row, faults in zip(found.batch.blocks, found.numbers, found.faults, strict=True):
        if not faults:
            continue
        places: dict[str, list[int]] = {}
        for index in np.flatnonzero(row == UNKNOWN).tolist():
            if (fault := faults.get(block.keys[index])) is not None:
                places.setdefault(fault, []).append(index)
        for fault, members in places.items():
            _reject(found, block, row, np.array(members), fault)


def _reject(found: Resolved, block: Block, row: Int64, members: Int64, reason: str) -> None:
    row[members] = REFUSED
    found.batch.accepted -= members.size
    found.batch.reject(members.size, reason, batches.metric_of(block, block.keys[members[0]]))


def leave_out(found: Resolved, services: Collection[str], reason: str) -> None:
    """Reject all points of these services."""
    for place, block in enumerate(found.batch.blocks):
        if block.service in services:
            row = found.numbers[place]
            if (members := np.flatnonzero(row != REFUSED)).size:
                _reject(found, block, row, members, reason)
                found.faults[place] |= {block.keys[index]: reason for index in members.tolist()}
            for identity in found.keys[place].values():
                found.series.pop(identity, None)
            found.keys[place] = {}


def place(found: Resolved, numbers: Mapping[bytes, int], refused: Mapping[bytes, str]) -> None:
    """Put the now known signals where they are wanted; the points of refused series are rejected with the reason."""
    for keys, faults in zip(found.keys, found.faults, strict=True):
        faults |= {key: refused[identity] for key, identity in keys.items() if identity in refused}
    _refuse(found)
    for block, row, keys in zip(found.batch.blocks, found.numbers, found.keys, strict=True):
        if keys:
            for index in np.flatnonzero(row == UNKNOWN).tolist():
                row[index] = numbers[keys[block.keys[index]]]


def taken(found: Resolved) -> tuple[int, int]:
    """How many number points and how many histogram points are not refused."""
    numbers = histograms = 0
    for block, row in zip(found.batch.blocks, found.numbers, strict=True):
        count = int((row != REFUSED).sum())
        if isinstance(block.values, np.ndarray):
            numbers += count
        else:
            histograms += count
    return numbers, histograms


def refusals(found: Resolved) -> Iterator[tuple[int, int, str]]:
    """Each point that was refused: the place of its block, its own in there, and the reason."""
    for place, (block, row) in enumerate(zip(found.batch.blocks, found.numbers, strict=True)):
        for index in np.flatnonzero(row == REFUSED).tolist():
            yield place, index, found.faults[place][block.keys[index]]


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
