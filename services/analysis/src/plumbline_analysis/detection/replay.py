"""Which alarms a bar would have raised on judgements that are stored. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import alarm
from plumbline_analysis.detection.alarm import QUIET, Alarm, Change
from plumbline_analysis.detection.streams import Judgement

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_BLOCK = 32
_NAN = float("nan")
_MISSING = Judgement(_NAN, _NAN, _NAN, _NAN, ())


@dataclass(frozen=True)
class History:
    """What the engine said of the points of a series, in their order; shape (n,) each. NaN where it was learning.

    Times in microseconds since the epoch, of slices of `step`; those without a point are left out.
    """

    step: int
    time: Int64
    value: Float64
    expected: Float64
    lower: Float64
    upper: Float64
    score: Float64

    def rows(self, first: int) -> list[tuple[float, float, float, float, float]]:
        """Value, expected, lower, upper and score of the next `_BLOCK` points from `first` on: far quicker to read
        than one by one."""
        columns = (self.value, self.expected, self.lower, self.upper, self.score)
        return list(zip(*(column[first : first + _BLOCK].tolist() for column in columns), strict=True))

    def score_at(self, at: int) -> float:
        """NaN where there is no point."""
        place = int(np.searchsorted(self.time, at))
        return float(self.score[place]) if place < len(self.time) and self.time[place] == at else _NAN


@dataclass
class Raised:
    """An alarm as it was at its end, or as it is where it is still open; and when it opened, in microseconds."""

    opened: int
    alarm: Alarm


def alarms(history: History, config: alarm.Config) -> list[Alarm]:
    """The alarms in their order, each as it was at its end; the last may still be open. O(n)."""
    return [each.alarm for each in raised(history, config)]


def raised(history: History, config: alarm.Config) -> list[Raised]:
    """The same with the moments at which they opened."""
    found: list[Raised] = []
    told = (history.value, history.expected, history.lower, history.upper, history.score)
    stirring = np.flatnonzero(alarm.stirring(*told, config))
    current, place = QUIET, 0
    rows: list[tuple[float, float, float, float, float]] = []
    first = 0
    while place < len(history.time):
        if current == QUIET:
            following = np.searchsorted(stirring, place)
            if following == len(stirring):
                break
            place = int(stirring[following])
        else:
            before = int(history.time[place - 1])
            missing = (int(history.time[place]) - before) // history.step - 1
            for _ in range(min(missing, config.missing_points)):
                current = _next(found, current, before, _NAN, _MISSING, config)
        if not first <= place < first + len(rows):
            first, rows = place, history.rows(place)
        value, expected, lower, upper, score = rows[place - first]
        judgement = Judgement(expected, lower, upper, score, ())
        current = _next(found, current, int(history.time[place]), value, judgement, config)
        place += 1
    return found


def _next(
    found: list[Raised], current: Alarm, at: int, value: float, judgement: Judgement, config: alarm.Config
) -> Alarm:
    after, change = alarm.step(current, at, value, judgement, config)
    if change is Change.OPENED:
        found.append(Raised(at, after))
    elif after.open or change is Change.CLOSED:
        found[-1].alarm = after
    return after
