"""Prometheus remote-write: a request's body becomes a `Batch`. Pure and CPU-bound.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and …/remote_write_spec_2_0/. What a series is, is said in
`prometheus_names`. NaN is no value: it marks that a series ended, or that there was nothing to measure.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from plumbline_analysis.sources import (
    batch,
    native_histograms,
    prometheus_names,
    remote_write_samples,
    remote_write_wire,
)
from plumbline_analysis.sources.batch import (
    Batch,
    Block,
    Described,
    Float64,
    Histogram,
    Int64,
    Kind,
    Undecodable,
    Unstorable,
    Window,
)
from plumbline_analysis.sources.otlp import MAX_POINTS
from plumbline_common.errors import TooLarge

_LATEST = 2**52
"""In milliseconds; so a time beyond any can be counted in microseconds."""


@dataclass(slots=True)
class Write(Batch):
    """A batch that counts the samples and histograms without a value, with which nothing is wrong."""

    empty_samples: int = 0
    empty_histograms: int = 0


@dataclass(slots=True)
class _Samples:
    """Of one job. `created[i]` is the start of sample i where it has none of its own, in milliseconds."""

    keys: list[Hashable] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)
    created: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Histograms:
    """Of one job and kind; times in milliseconds."""

    keys: list[Hashable] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    values: list[Histogram] = field(default_factory=list)


class _Reader:
    """Sorts the points of a request by job and kind of value. `describe(kind, key)` is what a series is; the kind is
    that of native histograms, None of samples."""

    def __init__(self, describe: Callable[[Kind | None, Any], Described]) -> None:
        self._describe = describe
        self._samples: defaultdict[str, _Samples] = defaultdict(_Samples)
        self._histograms: defaultdict[tuple[str, Kind], _Histograms] = defaultdict(_Histograms)
        self._found = Write()

    @property
    def _points(self) -> int:
        return sum(len(each.keys) for each in self._samples.values()) + sum(
            len(each.keys) for each in self._histograms.values()
        )

    def add_sample(self, job: str, key: Hashable, sample: bytes, created: int) -> None:
        samples = self._samples[job]
        samples.keys.append(key)
        samples.encoded.append(sample)
        samples.created.append(created)

    def add_series(self, job: str, key: Hashable, series: Any, created: int) -> None:
        for sample in series.samples:
            self.add_sample(job, key, sample, created)
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
            self._found.reject(1, fault, self._metric(kind, key))
            return
        histograms = self._histograms[job, kind]
        histograms.keys.append(key)
        histograms.start.append(point.start_timestamp or created)
        histograms.time.append(point.timestamp)
        histograms.values.append(histogram)

    def _metric(self, kind: Kind, key: Hashable) -> str:
        try:
            return self._describe(kind, key)[0].metric
        except Unstorable:
            return ""

    def batch(self, window: Window) -> Write:
        """All that was added. Raises `TooLarge`, and `DecodeError` where a sample is damaged."""
        if self._points > MAX_POINTS:
            raise TooLarge(f"the request holds more than {MAX_POINTS} points: send smaller batches")
        for job, samples in self._samples.items():
            start, time, value = remote_write_samples.columns(samples.encoded)
            start = np.where(start == 0, np.array(samples.created, np.int64), start)
            block = self._block(job, None, samples.keys, start, time, value)
            if (empty := np.isnan(value)).any():
                self._found.empty_samples += int(empty.sum())
                block = batch.chosen(block, np.flatnonzero(~empty))
            batch.add_block(self._found, window, block)
        for (job, kind), each in self._histograms.items():
            start, time = np.array(each.start, np.int64), np.array(each.time, np.int64)
            batch.add_block(self._found, window, self._block(job, kind, each.keys, start, time, each.values))
        return self._found

    def _block(
        self,
        job: str,
        kind: Kind | None,
        keys: list[Hashable],
        start: Int64,
        time: Int64,
        values: Float64 | list[Histogram],
    ) -> Block:
        start, time = (np.clip(each, 0, _LATEST) * 1000 for each in (start, time))
        group = (prometheus_names.SOURCE, job, kind)
        return Block(group, job, partial(self._describe, kind), keys, start, time, values)


def decode_v1(body: bytes, window: Window) -> Write:
    """The points of a prometheus.WriteRequest.

    Raises `Undecodable` where the body is not one (nothing of it is taken then) and `TooLarge` where it holds too
    much. Single points that can't be stored are counted in the batch with the reason.
    """
    reader = _Reader(_describe_labels)
    try:
        for encoded in remote_write_wire.WriteRequest.FromString(body).timeseries:
            if (found := remote_write_samples.split(encoded)) is not None:
                key, job, sample = found
                reader.add_sample(job, key, sample, 0)
            else:
                series = remote_write_wire.LabelledSeries.FromString(encoded)
                labels = tuple(series.labels)
                reader.add_series(remote_write_samples.job(map(_label, labels)), labels, series, 0)
        return reader.batch(window)
    except DecodeError as error:
        raise Undecodable(f"the body is not a prometheus.WriteRequest: {error}") from None


def decode_v2(body: bytes, window: Window) -> Write:
    """As `decode_v1`, of an io.prometheus.write.v2.Request."""
    reader = _Reader(_describe_symbols)
    try:
        request = remote_write_wire.Request.FromString(body)
        symbols = list(request.symbols)
        symbol = symbols.__getitem__
        for series in request.timeseries:
            labels = tuple(map(symbol, series.labels_refs[:]))
            metadata = series.metadata
            unit = symbols[metadata.unit_ref] if metadata.unit_ref else ""
            names = labels[::2]
            job = labels[2 * names.index(prometheus_names.JOB) + 1] if prometheus_names.JOB in names else ""
            if len(labels) % 2:
                raise Undecodable("a label has no value")
            reader.add_series(job, (labels, metadata.type, unit), series, series.created_timestamp)
        return reader.batch(window)
    except DecodeError as error:
        raise Undecodable(f"the body is not an io.prometheus.write.v2.Request: {error}") from None
    except IndexError:
        raise Undecodable("a reference is to no symbol of the request, or a label has no value") from None


@lru_cache(maxsize=4096)
def _label(encoded: bytes) -> Any:
    return remote_write_wire.Label.FromString(encoded)


def _describe_labels(kind: Kind | None, key: bytes | tuple[bytes, ...]) -> Described:
    """`key` has the labels as the series had them: in one piece, or each."""
    try:
        encoded = remote_write_wire.LabelledSeries.FromString(key).labels if isinstance(key, bytes) else key
        labels = [_label(each) for each in encoded]
    except DecodeError as error:
        raise Undecodable(f"a label is damaged: {error}") from None
    return prometheus_names.describe([(label.name, label.value) for label in labels], kind)


def _describe_symbols(kind: Kind | None, key: tuple[tuple[str, ...], int, str]) -> Described:
    labels, type, unit = key
    return prometheus_names.describe(zip(labels[::2], labels[1::2], strict=True), kind, type, unit)
