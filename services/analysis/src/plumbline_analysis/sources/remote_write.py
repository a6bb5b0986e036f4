"""Prometheus remote-write: a request's body becomes a `Batch`. Pure and CPU-bound.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and …/remote_write_spec_2_0/. What a series is, is said in
`prometheus_names`. NaN is no value: it marks that a series ended, or that there was nothing to measure.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from plumbline_analysis.sources import batch, native_histograms, prometheus_names, remote_write_wire
from plumbline_analysis.sources.batch import Batch, Block, Described, Kind, Undecodable, Unstorable, Window
from plumbline_analysis.sources.otlp import MAX_POINTS
from plumbline_common.errors import TooLarge

_JOB_LABEL = b"\n\x03job\x12"
"""How the label `job` begins: its field, and that of its name."""
_LATEST = 2**52
"""In milliseconds; so a time beyond any can be counted in microseconds."""


@dataclass(slots=True)
class Write(Batch):
    """A batch that counts the samples and histograms without a value, with which nothing is wrong."""

    empty_samples: int = 0
    empty_histograms: int = 0


@dataclass(slots=True)
class _Columns:
    """Points of one job and kind of value; times in milliseconds."""

    keys: list[Hashable] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, key: Hashable, start: int, time: int, value: Any) -> None:
        self.keys.append(key)
        self.start.append(start)
        self.time.append(time)
        self.values.append(value)


class _Reader:
    """Sorts the points of a request by job and kind of value. `describe(kind, key)` is what a series is; the kind is
    that of native histograms, None of samples."""

    def __init__(self, describe: Callable[[Kind | None, Any], Described]) -> None:
        self._describe = describe
        self._columns: dict[tuple[str, Kind | None], _Columns] = {}
        self._found = Write()

    def add(self, job: str, key: Hashable, series: Any, created: int) -> None:
        """`created` is the start of those points that have none of their own."""
        if samples := series.samples:
            columns = self._of(job, None)
            for sample in samples:
                columns.add(key, sample.start_timestamp or created, sample.timestamp, sample.value)
        for point in series.histograms:
            if native_histograms.is_stale(point.sum):
                self._found.empty_histograms += 1
            else:
                self._add_histogram(job, key, point, created)

    def _add_histogram(self, job: str, key: Hashable, point: Any, created: int) -> None:
        kind = native_histograms.kind(point)
        try:
            histogram = native_histograms.read(point)
            fault = batch.histogram_fault(histogram)
        except Unstorable as refused:
            fault = str(refused)
        if fault is not None:
            self._found.reject(1, fault, batch.metric_of(self._block(job, kind, _Columns()), key))
        else:
            self._of(job, kind).add(key, point.start_timestamp or created, point.timestamp, histogram)

    def _of(self, job: str, kind: Kind | None) -> _Columns:
        found = self._columns.get((job, kind))
        if found is None:
            found = self._columns[job, kind] = _Columns()
        return found

    def _block(self, job: str, kind: Kind | None, columns: _Columns) -> Block:
        start, time = (np.clip(np.array(each, np.int64), 0, _LATEST) * 1000 for each in (columns.start, columns.time))
        values = np.array(columns.values, np.float64) if kind is None else columns.values
        group = (prometheus_names.SOURCE, job, kind)
        return Block(group, job, partial(self._describe, kind), columns.keys, start, time, values)

    def batch(self, window: Window) -> Write:
        """All that was added. Raises `TooLarge`."""
        if sum(len(columns.keys) for columns in self._columns.values()) > MAX_POINTS:
            raise TooLarge(f"the request holds more than {MAX_POINTS} points: send smaller batches")
        for (job, kind), columns in self._columns.items():
            block = self._block(job, kind, columns)
            if isinstance(block.values, np.ndarray) and (empty := np.isnan(block.values)).any():
                self._found.empty_samples += int(empty.sum())
                block = batch.chosen(block, np.flatnonzero(~empty))
            batch.add_block(self._found, window, block)
        return self._found


def decode_v1(body: bytes, window: Window) -> Write:
    """The points of a prometheus.WriteRequest.

    Raises `Undecodable` where the body is not one (nothing of it is taken then) and `TooLarge` where it holds too
    much. Single points that can't be stored are counted in the batch with the reason.
    """
    reader = _Reader(_describe_labels)
    try:
        for series in remote_write_wire.WriteRequest.FromString(body).timeseries:
            labels = tuple(series.labels)
            job = next((_label(label)[1] for label in labels if label.startswith(_JOB_LABEL)), "")
            reader.add(job, labels, series, 0)
    except DecodeError as error:
        raise Undecodable(f"the body is not a prometheus.WriteRequest: {error}") from None
    return reader.batch(window)


def decode_v2(body: bytes, window: Window) -> Write:
    """As `decode_v1`, of an io.prometheus.write.v2.Request."""
    reader = _Reader(_describe_symbols)
    try:
        request = remote_write_wire.Request.FromString(body)
        symbols = list(request.symbols)
        for series in request.timeseries:
            labels = tuple([symbols[ref] for ref in series.labels_refs])
            metadata = series.metadata
            unit = symbols[metadata.unit_ref] if metadata.unit_ref else ""
            job = next((value for name, value in _pairs(labels) if name == prometheus_names.JOB), "")
            reader.add(job, (labels, metadata.type, unit), series, series.created_timestamp)
    except DecodeError as error:
        raise Undecodable(f"the body is not an io.prometheus.write.v2.Request: {error}") from None
    except (IndexError, ValueError):
        raise Undecodable("a reference is to no symbol of the request, or a label has no value") from None
    return reader.batch(window)


@lru_cache(maxsize=4096)
def _label(encoded: bytes) -> tuple[str, str]:
    label = remote_write_wire.Label.FromString(encoded)
    return label.name, label.value


def _pairs(labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(labels[::2], labels[1::2], strict=True)


def _describe_labels(kind: Kind | None, key: tuple[bytes, ...]) -> Described:
    try:
        return prometheus_names.describe([_label(label) for label in key], kind)
    except DecodeError as error:
        raise Undecodable(f"a label is damaged: {error}") from None


def _describe_symbols(kind: Kind | None, key: tuple[tuple[str, ...], int, str]) -> Described:
    labels, type, unit = key
    return prometheus_names.describe(_pairs(labels), kind, type, unit)
