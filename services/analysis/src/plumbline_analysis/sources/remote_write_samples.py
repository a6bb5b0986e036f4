"""Samples of remote-write by columns.

Nearly every sender writes a sample as its value (left out where it is 0) and its time, in this order, and a time of
our days in milliseconds is a varint of six bytes. So all samples of a form are one NumPy record array. Samples in any
other form are read by the C parser one by one.

A series of 1.0 that has one sample is its labels and then that sample: what stands before is the key under which the
series is known.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from plumbline_analysis.sources import remote_write_wire

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_MAX_KNOWN = 100_000
# A tag is the field number * 8, and 1 for eight bytes, 0 for a varint, 2 for bytes of a length that follows.
_TIME = [("time_tag", "u1"), ("time", "u1", (6,))]
_VALUE = [("value_tag", "u1"), ("value", "<f8")]
_FORMS = (np.dtype([*_VALUE, *_TIME]), np.dtype(_TIME))
_WEIGHTS = 1 << 7 * np.arange(6, dtype=np.int64)
_VALUE_TAG, _TIME_TAG = 1 * 8 + 1, 2 * 8
_LAST = b"\x12\x10\x09", b"\x12\x07\x10"
"""How the last field of a series begins that is a sample of each form."""
_ENDS = tuple(2 + form.itemsize for form in _FORMS)

_jobs: dict[bytes, str] = {}
"""The job of those keys that are known to hold labels and nothing else."""


def split(series: bytes) -> tuple[bytes, str, bytes] | None:
    """The key of a series of 1.0, its job, and its only sample; None where it is of another form."""
    for begins, end in zip(_LAST, _ENDS, strict=True):
        if series[-end : 3 - end] == begins:
            key = series[:-end]
            job = _jobs.get(key)
            if job is None:
                job = _learn(key)
            if job is not None:
                return key, job, series[2 - end :]
    return None


def _learn(key: bytes) -> str | None:
    try:
        series = remote_write_wire.LabelledSeries.FromString(key)
        if any(field.name != "labels" for field, _ in series.ListFields()):
            return None
        found = job(map(remote_write_wire.Label.FromString, series.labels))
    except DecodeError:
        return None
    if len(_jobs) >= _MAX_KNOWN:
        _jobs.clear()
    _jobs[key] = found
    return found


def job(labels: Any) -> str:
    return next((label.value for label in labels if label.name == "job"), "")


def columns(samples: Sequence[bytes]) -> tuple[Int64, Int64, Float64]:
    """Start and time in milliseconds, 0 where not given, and value; shape (n,) each.

    Raises `google.protobuf.message.DecodeError`.
    """
    start, time = np.zeros(len(samples), np.int64), np.zeros(len(samples), np.int64)
    value = np.zeros(len(samples), np.float64)
    sizes = np.fromiter(map(len, samples), np.int64, len(samples))
    odd = np.ones(len(samples), bool)
    for form in _FORMS:
        places = np.flatnonzero(sizes == form.itemsize)
        rows = np.frombuffer(b"".join([samples[place] for place in places.tolist()]), form)
        varint = rows["time"]
        fits = (rows["time_tag"] == _TIME_TAG) & (varint[:, :5] >= 0x80).all(axis=1) & (varint[:, 5] < 0x80)
        if "value" in (form.names or ()):
            fits &= rows["value_tag"] == _VALUE_TAG
            value[places[fits]] = rows["value"][fits]
        time[places[fits]] = (varint[fits] & 0x7F).astype(np.int64) @ _WEIGHTS
        odd[places[fits]] = False
    for place in np.flatnonzero(odd).tolist():
        sample = remote_write_wire.Sample.FromString(samples[place])
        start[place], time[place], value[place] = sample.start_timestamp, sample.timestamp, sample.value
    return start, time, value
