"""The points of one OTLP gauge or sum by columns.

Nearly every sender writes a NumberDataPoint in the order of its field numbers: start time, time and value, each a tag
byte and eight bytes, then the attributes. So the first 27 bytes (18 without a start time) of all points are one
NumPy record array, and the rest is the key under which the series is known. Points in any other form are read by the
C parser one by one.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbline_analysis.sources import otlp_wire

UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

NO_RECORDED_VALUE = 1
"""DataPointFlags: the sender says that it has no value. Nothing to store, and nothing wrong."""
_MAX_PLAIN = 200_000

# A tag is the field number * 8 + 1, the wire type of eight bytes.
_TIME, _VALUE = [("time_tag", "u1"), ("time", "<u8")], [("value_tag", "u1"), ("value", "<f8")]
_WITHOUT_START = np.dtype(_TIME + _VALUE)
_WITH_START = np.dtype([("start_tag", "u1"), ("start", "<u8"), *_TIME, *_VALUE])
_START_TAG, _TIME_TAG, _DOUBLE_TAG, _INTEGER_TAG = 2 * 8 + 1, 3 * 8 + 1, 4 * 8 + 1, 6 * 8 + 1

_plain: set[bytes] = set()
"""Ends of points that are known to hold attributes and nothing else."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Shape (n,) each. `value` is NaN where a point has none. A key is what `key_attributes` takes."""

    keys: list[Hashable]
    start: UInt64
    time: UInt64
    value: Float64


def read(points: Sequence[bytes]) -> Columns:
    """Those points that have a value recorded. Raises `google.protobuf.message.DecodeError`."""
    for kind in (_WITH_START, _WITHOUT_START):
        if (found := _by_columns(points, kind)) is not None:
            return found
    return _one_by_one(points)


def key_attributes(key: Any) -> Sequence[bytes]:
    """The encoded KeyValues of a key. Raises `google.protobuf.message.DecodeError`."""
    return tuple(otlp_wire.Number.FromString(key).attributes) if isinstance(key, bytes) else key


def _by_columns(points: Sequence[bytes], kind: np.dtype[Any]) -> Columns | None:
    """None where the points are not of this form."""
    size = kind.itemsize
    heads = b"".join([point[:size] for point in points])
    if len(heads) != size * len(points):
        return None
    rows = np.frombuffer(heads, kind)
    integer = rows["value_tag"] == _INTEGER_TAG
    fits = (rows["time_tag"] == _TIME_TAG) & (integer | (rows["value_tag"] == _DOUBLE_TAG))
    if kind is _WITH_START:
        fits &= rows["start_tag"] == _START_TAG
    keys: list[Hashable] = [point[size:] for point in points]
    if not fits.all() or not _only_attributes(keys):
        return None
    value = rows["value"].astype(np.float64)
    if integer.any():
        value = np.where(integer, value.view(np.int64).astype(np.float64), value)
    start = rows["start"].astype(np.uint64) if kind is _WITH_START else np.zeros(len(points), np.uint64)
    return Columns(keys, start, rows["time"].astype(np.uint64), value)


def _only_attributes(keys: Sequence[Any]) -> bool:
    """Whether no key holds a flag, an exemplar, or a second time or value, which would be the one that counts."""
    if not _plain.issuperset(keys):
        if len(_plain) > _MAX_PLAIN:
            _plain.clear()
        for key in set(keys) - _plain:
            if any(field.name != "attributes" for field, _ in otlp_wire.Number.FromString(key).ListFields()):
                return False
            _plain.add(key)
    return True


def _one_by_one(points: Sequence[bytes]) -> Columns:
    read = [otlp_wire.Number.FromString(point) for point in points]
    kept = [point for point in read if not point.flags & NO_RECORDED_VALUE]
    return Columns(
        [tuple(point.attributes) for point in kept],
        np.array([point.start_time_unix_nano for point in kept], np.uint64),
        np.array([point.time_unix_nano for point in kept], np.uint64),
        np.array([point.as_double or point.as_int or _zero(point) for point in kept], np.float64),
    )


def _zero(point: Any) -> float:
    """The value of a point that reads as 0: NaN, and so rejected, where there is none."""
    return 0.0 if point.WhichOneof("data") else float("nan")
