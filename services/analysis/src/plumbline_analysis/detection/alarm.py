"""From judgements to alarms: which departures matter, when an alarm begins and ends, what its worst point was. Pure.

For a point x that was judged, with the engine's score and what was expected:

    deviation = |x - expected|; it counts where it is at least max(min_absolute, min_relative * |expected|)
                and on the side that matters
    weight    = score / bar; and for a limit that the expected value keeps, deviation / |limit - expected| where that
                is more: 1 at the limit itself. 0 where the deviation does not count

A point is out where its weight is `calm_below` or more, or where its deviation counts and x lies outside the band. An
alarm opens with `onset_points` points that are out in a row, one of which has a weight of 1; it ends after
`calm_points` in a row that are not out, so shorter calm joins two departures to one. In the `pause_points` after its
end only what outweighs its peak opens another. While the engine is learning there is no score: then only the limit
can be passed.
"""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.streams import Judgement

Float64 = npt.NDArray[np.float64]

MAX_WEIGHT = 100.0
"""However far a limit is passed."""


@dataclass(frozen=True)
class Config:
    """What counts as a departure. `min_absolute` and `limit` in the unit of the series, `bar` a score, `calm_below` a
    weight; the rest are points."""

    direction: Literal["up", "down", "both"] = "both"
    bar: float = 1.0
    min_absolute: float = 0.0
    min_relative: float = 0.0
    limit: float | None = None
    onset_points: int = 1
    calm_points: int = 3
    calm_below: float = 0.8
    missing_points: int = 30
    pause_points: int = 5


@dataclass(frozen=True)
class Peak:
    """The worst point of an alarm so far. `at` in microseconds since the epoch; `score` its weight: 1 opens an alarm.

    `members`: what each of the engine's members added to the engine's score; empty while it was learning.
    """

    at: int
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    members: tuple[float, ...] = ()

    @property
    def direction(self) -> Literal["up", "down"]:
        return "up" if self.value >= self.expected else "down"


class Change(StrEnum):
    OPENED = "opened"
    WORSENED = "worsened"
    CLOSED = "closed"


@dataclass(frozen=True)
class Alarm:
    """The state of one series. `onset` and `last` are the first and the latest point of the run that were out, and
    `over` how many they are; `peak` is the run's, in a pause that of the alarm before it."""

    open: bool = False
    over: int = 0
    calm: int = 0
    missing: int = 0
    pause: int = 0
    onset: int = 0
    last: int = 0
    peak: Peak | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Alarm":
        peak = data["peak"] and Peak(**(data["peak"] | {"members": tuple(data["peak"].get("members", ()))}))
        return cls(**(data | {"peak": peak}))


QUIET = Alarm()


def step(alarm: Alarm, at: int, value: float, judgement: Judgement, config: Config) -> tuple[Alarm, Change | None]:
    """The alarm after the point at `at`, and what changed. A CLOSED alarm still holds `onset`, `last` and `peak`."""
    weight, out = _weighed(value, judgement, config)
    if weight is None:
        return _unknown(alarm, config)
    if out:
        return _out(alarm, Peak(at, weight, value, *judgement[:3], members=_known(judgement.members)), config)
    if not alarm.open:
        pause = max(alarm.pause - 1, 0)
        return Alarm(pause=pause, peak=alarm.peak if pause else None), None
    if alarm.calm + 1 >= config.calm_points:
        return _closed(alarm, config), Change.CLOSED
    return replace(alarm, calm=alarm.calm + 1, missing=0), None


def stirring(
    value: Float64, expected: Float64, lower: Float64, upper: Float64, score: Float64, config: Config
) -> npt.NDArray[np.bool_]:
    """Of points those that can change a quiet alarm, all of shape (n,): the others need not be stepped through."""
    beyond = (value < lower) | (value > upper)
    near = np.isnan(score) | (score / config.bar >= config.calm_below)
    if config.limit is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            towards = (value - expected) / (config.limit - expected)
        near |= towards >= config.calm_below
    found = beyond | near
    if config.direction != "both":
        found &= value > expected if config.direction == "up" else value < expected
    if config.min_absolute or config.min_relative:
        found &= np.abs(value - expected) >= np.maximum(config.min_absolute, config.min_relative * np.abs(expected))
    return np.asarray(found, np.bool_)


def _weighed(value: float, judgement: Judgement, config: Config) -> tuple[float | None, bool]:
    """A point's weight, None where nothing can be said, and whether it is out."""
    expected, lower, upper, score, _ = judgement
    learning = score != score
    towards = _towards(value, expected, config)
    if learning and (towards is None or expected != expected):
        return None, False
    side = {"up": value > expected, "down": value < expected, "both": True}[config.direction]
    if not side or abs(value - expected) < max(config.min_absolute, config.min_relative * abs(expected)):
        return 0.0, False
    if learning:
        return min(towards or 0.0, MAX_WEIGHT), (towards or 0.0) >= 1.0
    weight = min(max(score / config.bar, towards or 0.0), MAX_WEIGHT)
    return weight, weight >= config.calm_below or not lower <= value <= upper


def _towards(value: float, expected: float, config: Config) -> float | None:
    """How far of the way from what is expected to the limit; None where there is no limit that normal points keep."""
    limit, direction = config.limit, config.direction
    if limit is None or limit == expected or (limit > expected and direction == "down"):
        return None
    if limit < expected and direction == "up":
        return None
    return max((value - expected) / (limit - expected), 0.0)


def _known(members: tuple[float, ...]) -> tuple[float, ...]:
    return members if all(member == member for member in members) else ()


def _out(alarm: Alarm, here: Peak, config: Config) -> tuple[Alarm, Change | None]:
    running = alarm.open or alarm.over > 0
    if alarm.pause and not alarm.open:
        # The peak is still that of the alarm before.
        if alarm.peak is not None and here.score <= alarm.peak.score:
            return replace(alarm, pause=alarm.pause - 1), None
        alarm, running = QUIET, False
    worse = not running or alarm.peak is None or here.score > alarm.peak.score
    peak, over = here if worse or alarm.peak is None else alarm.peak, alarm.over + 1
    opens = not alarm.open and over >= config.onset_points and peak.score >= 1
    # Not by `replace`, which costs more than all else that is done for a point.
    after = Alarm(
        open=alarm.open or opens,
        over=over,
        pause=alarm.pause,
        onset=alarm.onset if running else here.at,
        last=here.at,
        peak=peak,
    )
    if opens:
        return after, Change.OPENED
    return after, Change.WORSENED if alarm.open and worse else None


def _unknown(alarm: Alarm, config: Config) -> tuple[Alarm, Change | None]:
    """A point that is missing or not judged: the state holds, but not for ever."""
    missing = alarm.missing + 1
    if alarm.open and missing >= config.missing_points:
        return _closed(alarm, config), Change.CLOSED
    if alarm.open or alarm.over:
        return (replace(alarm, missing=missing) if missing < config.missing_points else QUIET), None
    return alarm, None


def _closed(alarm: Alarm, config: Config) -> Alarm:
    return replace(alarm, open=False, over=0, calm=0, missing=0, pause=config.pause_points)
