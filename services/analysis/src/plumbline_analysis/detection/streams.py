"""The streaming engine: many series, each judged point by point by what it did before, at a few hundred ns a point.

A point's `score` says how unusual it is: 1 is reached by chance about once in a week of five-minute points, on every
series alike. `fresh` is the score where an event begins or grows, and 0 where it only goes on, so that one event
alarms once. The state of a series is 4 KB, whatever its history. `docs/detection.md` has the formulas.
"""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import kernels
from plumbline_analysis.detection.kernels import Float32, Float64, Records

VERSION = 2
_HEADER = struct.Struct("<4sH")
_MAGIC = b"plst"
_STATE, _HOUR = kernels.STATE.newbyteorder("<"), kernels.HOUR.newbyteorder("<")
_BLANK = np.zeros(1, kernels.STATE), np.zeros(1, kernels.HOUR)


def _zeros(shape: tuple[int, ...], kind: np.dtype[np.void]) -> Records:
    """An array of records that begin where a cache line does."""
    length = math.prod(shape) * kind.itemsize
    room = np.zeros(length + kernels.LINE, np.uint8)
    begin = -room.ctypes.data % kernels.LINE
    return room[begin : begin + length].view(kind).reshape(shape)


class Member(IntEnum):
    """Who sees what: a value far from the baseline; a baseline that moved; more or less variation than usual; a
    value or a mean or a deviation that this series never had."""

    DEPARTURE = kernels.DEPARTURE
    LEVEL = kernels.LEVEL
    VARIATION = kernels.VARIATION
    NOVELTY = kernels.NOVELTY


class Judgement(NamedTuple):
    """One row of `Judgements`."""

    expected: float
    lower: float
    upper: float
    score: float
    members: tuple[float, ...]


@dataclass(frozen=True)
class Judgements:
    """One per arrival, shape (n,). All NaN where the point is missing, late or a duplicate, or one of the first 20 of
    its series; up to the 60th the series is learning: there is an expected value in a wide band, but no score.
    `members`, shape (n, 4): what each `Member` adds to the score; they sum up to it."""

    score: Float64
    fresh: Float64
    expected: Float64
    lower: Float64
    upper: Float64
    members: Float32

    def rows(self) -> "list[Judgement]":
        """The same one by one."""
        columns = (self.expected, self.lower, self.upper, self.score)
        members = map(tuple, self.members.tolist())
        return [Judgement(*row) for row in zip(*(column.tolist() for column in columns), members, strict=True)]

    def seen_by(self) -> npt.NDArray[np.int8]:
        """The `Member` that adds most to each score, shape (n,); -1 where there is none."""
        known = ~np.isnan(self.score)
        most = np.argmax(np.where(known[:, None], self.members, 0.0), axis=1)
        return np.where(known, most, -1).astype(np.int8)


@dataclass(frozen=True)
class Counters:
    """Of one series: points that it learned from, that were NaN, infinite or too large, and that were not later
    than the one before."""

    learned: int
    missing: int
    late: int


class Engine:
    """The state of `series` series, numbered from 0. Not to be used by two threads at once."""

    def __init__(self, series: int) -> None:
        self._states = _zeros((series,), kernels.STATE)
        self._profiles = _zeros((series, kernels.HOURS), kernels.HOUR)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def bytes_per_series(self) -> int:
        return kernels.STATE.itemsize + kernels.HOURS * kernels.HOUR.itemsize

    def grow(self, series: int) -> None:
        """Make room for `series` series in all; those that there are stay as they are."""
        more = Engine(max(series, len(self)))
        more._states[: len(self)] = self._states
        more._profiles[: len(self)] = self._profiles
        self._states, self._profiles = more._states, more._profiles

    def run(self, series: npt.ArrayLike, at: npt.ArrayLike, values: npt.ArrayLike) -> Judgements:
        """Judge arrivals in their order, and learn from them: whose they are, microseconds since the epoch, values.

        All of shape (n,). Only the order within a series matters. O(n). Raises `ValueError` for arrays of different
        lengths and `IndexError` for a series that there is not, before anything has changed.
        """
        whose, when, what = (
            np.ascontiguousarray(series, np.int64),
            np.ascontiguousarray(at, np.int64),
            np.ascontiguousarray(values, np.float64),
        )
        if not whose.shape == when.shape == what.shape or whose.ndim != 1:
            raise ValueError("series, times and values must have one length")
        if len(whose) and (whose.min() < 0 or whose.max() >= len(self)):
            raise IndexError(f"there are the series 0 to {len(self) - 1}")
        figures: Float64 = np.full((len(whose), 5), np.nan)
        members: Float32 = np.full((len(whose), kernels.MEMBERS), np.nan, np.float32)
        kernels.tick(self._states, self._profiles, *_BLANK, whose, when, what, figures, members)
        score, fresh, expected, lower, upper = figures.T
        return Judgements(score, fresh, expected, lower, upper, members)

    def counters(self, series: int) -> Counters:
        state = self._states[series]
        return Counters(int(state["seen"]), int(state["missing"]), int(state["late"]))

    def to_bytes(self, series: int) -> bytes:
        """The state of one series: a header with the version, then its records, little endian."""
        state: Records = np.asarray(self._states[series], _STATE)
        profile: Records = self._profiles[series].astype(_HOUR)
        return _HEADER.pack(_MAGIC, VERSION) + state.tobytes() + profile.tobytes()

    def from_bytes(self, series: int, data: bytes) -> None:
        """Put a state that `to_bytes` gave in the place of one series'. Raises `ValueError` for another version, or
        for what is no state: the series then has to learn anew."""
        if len(data) != _HEADER.size + self.bytes_per_series or _HEADER.unpack_from(data) != (_MAGIC, VERSION):
            raise ValueError(f"not an engine's state of version {VERSION}")
        self._states[series] = np.frombuffer(data, _STATE, 1, _HEADER.size)[0]
        self._profiles[series] = np.frombuffer(data, _HOUR, offset=_HEADER.size + _STATE.itemsize)
