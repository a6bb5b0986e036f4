"""The streaming engine: many series, each judged point by point by what it did before, at a few hundred ns a point.

A point's `score` says how unusual it is: 1 is reached by chance about once in a week of five-minute points, on every
series alike. `fresh` is the score where an event begins or grows, and 0 where it only goes on, so that one event
alarms once. The state of a series is 3.7 KB, whatever its history. `docs/detection.md` has the formulas.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import kernels
from plumbline_analysis.detection.kernels import Float32, Float64, Int64, UInt16

VERSION = 1
_HEADER = struct.Struct("<4sH")
_MAGIC = b"plst"


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
        self._numbers: Float64 = np.zeros((series, kernels.NUMBERS))
        self._profile: Float64 = np.zeros((series, kernels.SLOTS))
        self._visits: UInt16 = np.zeros((series, kernels.SLOTS), np.uint16)
        self._counts: UInt16 = np.zeros((series, kernels.CALIBRATED * kernels.BINS), np.uint16)
        self._clock: Int64 = np.zeros((series, kernels.CLOCKS), np.int64)

    def __len__(self) -> int:
        return len(self._clock)

    @property
    def bytes_per_series(self) -> int:
        return sum(column[:1].nbytes for column in self._columns()) if len(self) else 0

    def grow(self, series: int) -> None:
        """Make room for `series` series in all; those that there are stay as they are."""
        more = Engine(max(series - len(self), 0))
        for name, new in vars(more).items():
            setattr(self, name, np.concatenate([getattr(self, name), new]))

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
        kernels.tick(*self._columns(), whose, when, what, figures, members)
        score, fresh, expected, lower, upper = figures.T
        return Judgements(score, fresh, expected, lower, upper, members)

    def counters(self, series: int) -> Counters:
        clock = self._clock[series]
        return Counters(int(clock[kernels.SEEN]), int(clock[kernels.MISSING]), int(clock[kernels.LATE]))

    def to_bytes(self, series: int) -> bytes:
        """The state of one series: a header with the version, then the five columns, little endian."""
        rows = (column[series] for column in self._columns())
        return _HEADER.pack(_MAGIC, VERSION) + b"".join(
            row.astype(row.dtype.newbyteorder("<")).tobytes() for row in rows
        )

    def from_bytes(self, series: int, data: bytes) -> None:
        """Put a state that `to_bytes` gave in the place of one series'. Raises `ValueError` for another version, or
        for what is no state: the series then has to learn anew."""
        if len(data) != _HEADER.size + self.bytes_per_series or _HEADER.unpack_from(data) != (_MAGIC, VERSION):
            raise ValueError(f"not an engine's state of version {VERSION}")
        offset = _HEADER.size
        for column in self._columns():
            length = column.shape[1]
            column[series] = np.frombuffer(data, column.dtype.newbyteorder("<"), length, offset)
            offset += length * column.itemsize

    def _columns(self) -> tuple[Float64, Float64, UInt16, UInt16, Int64]:
        return self._numbers, self._profile, self._visits, self._counts, self._clock
