"""One online detector: a robust level with a band around it, learned from the recent normal points of the series.

For a point x, with m the median and q25, q75 the quartiles of the n points in memory:

    spread up = (q75 - m) / 0.6745, spread down = (m - q25) / 0.6745          (a normal distribution's sigma)
    least     = max(min_relative * |m|, min_absolute)
    width     = max(least, min(sensitivity * (1 + 5 / n) * spread, limit - m))
    score     = how far x lies from m on the side that matters, in widths; >= 1 is anomalous

The limit is a value that must not be passed. It counts on the side on which m keeps it: what passes it twice running
while the series normally does not is an anomaly, however noisy the series is.

Quartiles ignore up to a quarter of outliers on a side, so start-up noise in the memory does not widen the band.
Points outside the band are not remembered: an anomaly does not teach the detector that it is normal. But a band
that leaves out `heal_points` of the last `heal_window` points is wrong, whatever the reason (a change of level, a
second mode): the memory is then replaced by those recent points.

State: at most 8 * memory + 9 * heal_window bytes and a header, 3.6 KB with the defaults. A point costs
O(memory log memory).
"""

import struct
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

VERSION = 1
_HEADER = struct.Struct("<BHH")
_SIGMA = 0.6745
LARGEST = 1e300
MAX_SCORE = 100.0
"""Of a series that never varied, any change is infinitely unusual."""


@dataclass(frozen=True)
class Config:
    """What counts as a departure. `min_absolute` and `limit` are in the unit of the series."""

    direction: Literal["up", "down", "both"] = "both"
    sensitivity: float = 6.0
    min_absolute: float = 0.0
    min_relative: float = 0.3
    limit: float | None = None
    learning_points: int = 15
    memory: int = 240
    heal_window: int = 180
    heal_points: int = 72


@dataclass(frozen=True)
class State:
    """`normal`: the remembered points, shape (<= memory,). `recent`, `outside`: the last points and whether each
    lay outside the band, shape (<= heal_window,)."""

    normal: Float64
    recent: Float64
    outside: npt.NDArray[np.bool_]

    def to_bytes(self) -> bytes:
        """Version, two lengths (little endian), then the three columns."""
        header = _HEADER.pack(VERSION, len(self.normal), len(self.recent))
        columns = (self.normal.astype("<f8"), self.recent.astype("<f8"), self.outside.astype("<u1"))
        return header + b"".join(column.tobytes() for column in columns)

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """Raises `ValueError` for another version: the detector then has to learn anew."""
        version, normal, recent = _HEADER.unpack_from(data) if len(data) >= _HEADER.size else (0, 0, 0)
        if version != VERSION or len(data) != _HEADER.size + 8 * normal + 9 * recent:
            raise ValueError(f"not a detector state of version {VERSION}")
        values = np.frombuffer(data, "<f8", normal + recent, _HEADER.size).astype(np.float64)
        flags = np.frombuffer(data, "<u1", recent, _HEADER.size + 8 * (normal + recent))
        return cls(values[:normal], values[normal:], flags.astype(bool))


@dataclass(frozen=True)
class Judgement:
    """All NaN where the point is missing or the detector is still learning."""

    expected: float
    lower: float
    upper: float
    score: float

    @property
    def known(self) -> bool:
        return self.score == self.score


NO_JUDGEMENT = Judgement(float("nan"), float("nan"), float("nan"), float("nan"))
NEW = State(np.empty(0), np.empty(0), np.empty(0, bool))


def step(state: State, x: float, config: Config) -> tuple[State, Judgement]:
    """Judge the next point by what was seen before it, then learn from it.

    NaN is a missing point, and so is one beyond `LARGEST`, where the arithmetic of the band would overflow.
    """
    if not abs(x) <= LARGEST:
        return state, NO_JUDGEMENT
    if len(state.normal) < config.learning_points:
        return _learned(state, x, False, config), NO_JUDGEMENT
    level, down, up = _band(state.normal, config)
    departure = x - level
    above, below = departure / up, -departure / down
    outside = max(above, below) >= 1
    score = {"up": above, "down": below, "both": max(above, below)}[config.direction]
    lower = level - down
    if lower < 0 <= state.normal.min():
        lower = 0.0  # what was never negative (a latency, a size, a share) is not expected to be
    judgement = Judgement(level, lower, level + up, min(max(score, 0.0), MAX_SCORE))
    return _learned(state, x, outside, config), judgement


def run(state: State, values: Float64, config: Config) -> tuple[State, list[Judgement]]:
    """`step` over values of shape (n,): one judgement each."""
    judgements = []
    for x in values.tolist():
        state, judgement = step(state, x, config)
        judgements.append(judgement)
    return state, judgements


def _band(normal: Float64, config: Config) -> tuple[float, float, float]:
    """The level and the widths below and above it; both widths are positive."""
    low, level, high = _quartiles(np.sort(normal))
    factor = config.sensitivity * (1 + 5 / len(normal)) / _SIGMA
    least = max(config.min_relative * abs(level), config.min_absolute, sys.float_info.min)
    down, up = factor * (level - low), factor * (high - level)
    if config.limit is not None and config.limit > level:
        up = min(up, config.limit - level)
    if config.limit is not None and config.limit < level:
        down = min(down, level - config.limit)
    return level, max(down, least), max(up, least)


def _quartiles(ascending: Float64) -> tuple[float, float, float]:
    place = (len(ascending) - 1) * np.array((0.25, 0.5, 0.75))
    below = place.astype(np.int64)
    above = np.minimum(below + 1, len(ascending) - 1)
    # (1 - t) * a + t * b cannot overflow where b - a can.
    part = place - below
    low, level, high = (ascending[below] * (1 - part) + ascending[above] * part).tolist()
    return low, level, high


def _learned(state: State, x: float, outside: bool, config: Config) -> State:
    recent = np.append(state.recent, x)[-config.heal_window :]
    flags = np.append(state.outside, outside)[-config.heal_window :]
    if int(flags.sum()) >= config.heal_points:
        return State(recent[-config.memory :], recent, np.zeros(len(recent), bool))
    normal = state.normal if outside else np.append(state.normal, x)[-config.memory :]
    return State(normal, recent, flags)
