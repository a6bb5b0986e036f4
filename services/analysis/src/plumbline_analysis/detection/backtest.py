"""The engine and its alarms over one series, some points at a time: what they would have said as the points came."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.alarm import QUIET, Alarm, Change, Config, Peak, step, stirring
from plumbline_analysis.detection.kernels import LARGEST, Float64, Int64
from plumbline_analysis.detection.streams import Counters, Engine, Judgement, Judgements

Flags = npt.NDArray[np.bool_]
NEVER = -(2**63)


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
        self._newest = NEVER

    @property
    def counters(self) -> Counters:
        return self._engine.counters(0)

    @property
    def alarms(self) -> list[Raised]:
        return [*self._ended, _raised(self._alarm)] if self._alarm.open else list(self._ended)

    def add(self, at: npt.ArrayLike, values: npt.ArrayLike) -> tuple[Judgements, Flags]:
        """Judge points, shape (n,), in the order of their arrival: microseconds since the epoch and values, NaN where
        they are missing. Gives the judgements, and after which points an alarm is open."""
        when, what = np.asarray(at, np.int64), np.asarray(values, np.float64)
        found = self._engine.run(np.zeros(len(when), np.int64), when, what)
        late = self._late(when, what)
        told = (what, found.expected, found.lower, found.upper, found.score)
        stirs = stirring(*told, self._config)
        opened = np.zeros(len(when), np.bool_)
        for index in range(len(when)):
            if not late[index] and (stirs[index] or self._alarm is not QUIET):
                self._step(int(when[index]), float(what[index]), found, index)
            opened[index] = self._alarm.open
        return found, opened

    def _late(self, at: Int64, values: Float64) -> Flags:
        """Points not after the newest one, as the engine counts: what has no value makes nothing after it late."""
        newest = np.where(np.abs(values) <= LARGEST, at, NEVER)
        newest = np.maximum.accumulate(np.concatenate([[self._newest], newest]))
        self._newest = int(newest[-1])
        late: Flags = at <= newest[:-1]
        return late

    def _step(self, at: int, value: float, found: Judgements, index: int) -> None:
        expected, lower, upper, score = (
            float(column[index]) for column in (found.expected, found.lower, found.upper, found.score)
        )
        judgement = Judgement(expected, lower, upper, score, tuple(found.members[index].tolist()))
        alarm, change = step(self._alarm, at, value, judgement, self._config)
        if change is Change.CLOSED:
            self._ended.append(_raised(alarm))
        self._alarm = QUIET if alarm == QUIET else alarm


def _raised(alarm: Alarm) -> Raised:
    assert alarm.peak is not None
    return Raised(alarm.onset, alarm.last, not alarm.open, alarm.peak)
