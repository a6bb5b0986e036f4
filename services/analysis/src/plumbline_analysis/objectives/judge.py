"""The CPU-bound step of an evaluation: measure the slices of a part of an SLO, let its detector judge. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plumbline_analysis.detection import alarm, univariate
from plumbline_analysis.detection.alarm import Alarm, Change
from plumbline_analysis.detection.univariate import Judgement, State
from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.measure import Measured
from plumbline_analysis.series.slices import Float64, Grid


@dataclass(frozen=True)
class Watch:
    """A detector as it was stored. Slices that end by `since` (microseconds) only teach it."""

    state: State
    alarm: Alarm
    since: int


@dataclass(frozen=True)
class Judged:
    """What one part's new slices say. `changes` are the alarm after each change, in the order of time."""

    measured: Measured
    watch: Watch
    judgements: Sequence[Judgement]
    changes: Sequence[tuple[Change, Alarm]]


ALARM = alarm.Config()


def judge(asked: measure.Request, watch: Watch) -> Judged:
    """Measure and detect. O(points + slices * detector memory)."""
    measured = measure.measure(asked)
    return detect(measured, watch, asked.watched, measure.detector_config(asked.part))


def detect(measured: Measured, watch: Watch, grid: Grid, config: univariate.Config) -> Judged:
    """Judge the watched series slice by slice."""
    state, judgements = univariate.run(watch.state, measured.watched, config)
    current, changes = _alarms(watch, grid, measured.watched, judgements)
    return Judged(measured, replace(watch, state=state, alarm=current), judgements, changes)


def _alarms(
    watch: Watch, grid: Grid, values: Float64, judgements: Sequence[Judgement]
) -> tuple[Alarm, list[tuple[Change, Alarm]]]:
    current, changes = watch.alarm, []
    for end, value, judgement in zip(grid.ends.tolist(), values.tolist(), judgements, strict=True):
        if end > watch.since:
            current, change = alarm.step(current, end, value, judgement, ALARM)
            if change is not None:
                changes.append((change, current))
    return current, changes
