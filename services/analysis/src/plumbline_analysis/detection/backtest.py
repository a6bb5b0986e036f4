"""The engine and its alarms over one series, some points at a time: what they would have said as the points came."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.alarm import QUIET, Alarm, Change, Config, Peak, step
from plumbline_analysis.detection.kernels import LARGEST
from plumbline_analysis.detection.streams import Counters, Engine, Judgements


@dataclass(frozen=True)
class Raised:
    """`onset` and `last`, the first and the latest point that was out, in microseconds; `ended` says whether it is
    over."""

    onset: int
    last: int
    ended: bool
    peak: Peak


class Backtest:
    """One series. `alarms` are those that have ended, in the order of their ends, and then the one that is open."""

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()
        self._engine = Engine(1)
        self._alarm: Alarm = QUIET
        self._ended: list[Raised] = []
        self._newest: int | None = None

    @property
    def counters(self) -> Counters:
        return self._engine.counters(0)

    @property
    def alarms(self) -> list[Raised]:
        return [*self._ended, _raised(self._alarm)] if self._alarm.open else list(self._ended)

    def add(self, at: npt.ArrayLike, values: npt.ArrayLike) -> tuple[Judgements, npt.NDArray[np.bool_]]:
        """Judge points, shape (n,), in the order of their arrival: microseconds since the epoch and values, NaN where
        they are missing. Gives the judgements, and after which points an alarm is open."""
        when, what = np.asarray(at, np.int64), np.asarray(values, np.float64)
        found = self._engine.run(np.zeros(len(when), np.int64), when, what)
        opened = np.zeros(len(when), np.bool_)
        for index, (moment, value, judgement) in enumerate(
            zip(when.tolist(), what.tolist(), found.rows(), strict=True)
        ):
            if self._newest is None or moment > self._newest:
                self._alarm, change = step(self._alarm, moment, value, judgement, self._config)
                if change is Change.CLOSED:
                    self._ended.append(_raised(self._alarm))
                if abs(value) <= LARGEST:  # what has no value makes nothing after it late
                    self._newest = moment
            opened[index] = self._alarm.open
        return found, opened


def _raised(alarm: Alarm) -> Raised:
    assert alarm.peak is not None
    return Raised(alarm.onset, alarm.last, not alarm.open, alarm.peak)
