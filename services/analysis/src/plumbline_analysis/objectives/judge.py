"""The CPU-bound step of an evaluation: measure the slices of the parts of SLOs, let their detectors judge. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from plumbline_analysis.detection import alarm
from plumbline_analysis.detection.alarm import Alarm, Change
from plumbline_analysis.detection.multivariate import Group
from plumbline_analysis.detection.streams import Engine, Judgement
from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.measure import Measured
from plumbline_analysis.series.slices import Float64, Grid


@dataclass(frozen=True)
class Watch:
    """A detector as it was stored: the engine's state of its series, None where there is none yet; its alarm; the
    score at which it alarms. Slices that end by `since` (microseconds) only teach it."""

    state: bytes | None
    alarm: Alarm
    bar: float
    since: int


@dataclass(frozen=True)
class Judged:
    """What one part's new slices say. `changes` are the alarm after each change, in the order of time."""

    measured: Measured
    watch: Watch
    judgements: Sequence[Judgement]
    changes: Sequence[tuple[Change, Alarm]]


def judge(asked: Sequence[measure.Request], watches: Sequence[Watch]) -> list[Judged]:
    """Measure the parts, and let one engine judge all their series. O(points + slices)."""
    measured = [measure.measure(each) for each in asked]
    engine, judgements = Engine(len(asked)), []
    for number, watch in enumerate(watches):
        take_up(engine, number, watch.state)
    values = [each.watched for each in measured]
    if asked:
        whose = np.repeat(np.arange(len(asked)), [len(each) for each in values])
        ends = np.concatenate([each.watched.ends for each in asked])
        judgements = engine.run(whose, ends, np.concatenate(values)).rows()
    judged, first = [], 0
    for number, (each, found, watch) in enumerate(zip(asked, measured, watches, strict=True)):
        own = judgements[first : first + len(found.watched)]
        first += len(own)
        current, changes = _alarms(watch, each.watched, found.watched, own, measure.alarm_config(each.part))
        judged.append(Judged(found, replace(watch, state=engine.to_bytes(number), alarm=current), own, changes))
    return judged


def prepare() -> None:
    """Have the engine's kernels compiled."""
    Engine(1).run([0], [0], [0.0])
    Group(1).run([[0.0]])


def take_up(engine: Engine, number: int, state: bytes | None) -> None:
    """Go on from a stored state; one of another version of the engine is learned anew."""
    if state is not None:
        try:
            engine.from_bytes(number, state)
        except ValueError:
            return


def _alarms(
    watch: Watch, grid: Grid, values: Float64, judgements: Sequence[Judgement], config: alarm.Config
) -> tuple[Alarm, list[tuple[Change, Alarm]]]:
    config = replace(config, bar=watch.bar)
    current, changes = watch.alarm, []
    for end, value, judgement in zip(grid.ends.tolist(), values.tolist(), judgements, strict=True):
        if end > watch.since:
            current, change = alarm.step(current, end, value, judgement, config)
            if change is not None:
                changes.append((change, current))
    return current, changes
