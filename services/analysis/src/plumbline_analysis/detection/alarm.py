"""From scores to anomalies: onset after several points in a row, end after several calm ones, then a pause."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from plumbline_analysis.detection.univariate import Judgement


@dataclass(frozen=True)
class Config:
    """All in points, but `calm_below`, a score: between it and 1 an anomaly neither starts nor ends."""

    onset_points: int = 2
    calm_points: int = 3
    calm_below: float = 0.8
    missing_points: int = 30
    pause_points: int = 5


@dataclass(frozen=True)
class Peak:
    """The worst point of an anomaly so far. `at` in microseconds since the epoch."""

    at: int
    score: float
    value: float
    expected: float
    lower: float
    upper: float

    @property
    def direction(self) -> Literal["up", "down"]:
        return "up" if self.value >= self.expected else "down"


class Change(StrEnum):
    OPENED = "opened"
    WORSENED = "worsened"
    CLOSED = "closed"


@dataclass(frozen=True)
class Alarm:
    """The state of one series. `onset` and `last` are the first and the latest anomalous point of the run."""

    open: bool = False
    over: int = 0
    calm: int = 0
    missing: int = 0
    pause: int = 0
    onset: int = 0
    last: int = 0
    peak: Peak | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "peak"}
        peak = self.peak and {name: getattr(self.peak, name) for name in self.peak.__dataclass_fields__}
        return plain | {"peak": peak}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Alarm":
        return cls(**(data | {"peak": Peak(**data["peak"]) if data["peak"] else None}))


QUIET = Alarm()


def step(alarm: Alarm, at: int, value: float, judgement: Judgement, config: Config) -> tuple[Alarm, Change | None]:
    """The alarm after the point at `at`, and what changed. A CLOSED alarm still holds `onset`, `last` and `peak`."""
    if not judgement.known:
        return _unknown(alarm, config)
    if judgement.score >= 1:
        return _over(alarm, at, value, judgement, config)
    pause = max(alarm.pause - 1, 0)
    if not alarm.open:
        return Alarm(pause=pause), None
    calm = alarm.calm + 1 if judgement.score < config.calm_below else 0
    if calm >= config.calm_points:
        return _closed(alarm, config), Change.CLOSED
    return replace(alarm, calm=calm, over=0, missing=0), None


def _over(alarm: Alarm, at: int, value: float, judgement: Judgement, config: Config) -> tuple[Alarm, Change | None]:
    if not alarm.open and alarm.pause:
        return replace(alarm, pause=alarm.pause - 1), None
    here = Peak(at, judgement.score, value, judgement.expected, judgement.lower, judgement.upper)
    running = alarm.open or alarm.over > 0
    worse = not running or alarm.peak is None or here.score > alarm.peak.score
    after = replace(
        alarm,
        over=alarm.over + 1,
        calm=0,
        missing=0,
        onset=alarm.onset if running else at,
        last=at,
        peak=here if worse else alarm.peak,
    )
    if alarm.open:
        return after, Change.WORSENED if worse else None
    if after.over >= config.onset_points:
        return replace(after, open=True), Change.OPENED
    return after, None


def _unknown(alarm: Alarm, config: Config) -> tuple[Alarm, Change | None]:
    """A point that is missing or not judged: the state holds, but not for ever."""
    missing = alarm.missing + 1
    if alarm.open and missing >= config.missing_points:
        return _closed(alarm, config), Change.CLOSED
    if alarm.open or alarm.over:
        return replace(alarm, missing=missing, over=alarm.over if missing < config.missing_points else 0), None
    return alarm, None


def _closed(alarm: Alarm, config: Config) -> Alarm:
    return replace(alarm, open=False, over=0, calm=0, missing=0, pause=config.pause_points)
