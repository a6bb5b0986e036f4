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
    score at which it alarms. Slices that end by `since` (microseconds) only teach it. A slice that ends after
    `patience` and has no value, nor any slice after it, is left for later: what is pulled comes late."""

    state: bytes | None
    alarm: Alarm
    bar: float
    since: int
    patience: int


@dataclass(frozen=True)
class Judged:
    """What one part's new slices say. `changes` are the alarm after each change, in the order of time; `grid` are
    the slices of `measured.watched` and `judgements`."""

    measured: Measured
    grid: Grid
    watch: Watch
    judgements: Sequence[Judgement]
    changes: Sequence[tuple[Change, Alarm]]


def judge(asked: Sequence[measure.Request], watches: Sequence[Watch]) -> list[Judged]:
    """Measure the parts, and let one engine judge all their series. O(points + slices)."""
    measured, grids = [], []
    for each, watch in zip(asked, watches, strict=True):
        found = measure.measure(each)
        grids.append(_come(each.watched, found.watched, watch.patience))
        measured.append(replace(found, watched=found.watched[: grids[-1].count]))
    engine, judgements = Engine(len(asked)), []
    for number, watch in enumerate(watches):
        take_up(engine, number, watch.state)
    values = [each.watched for each in measured]
    if asked:
        whose = np.repeat(np.arange(len(asked)), [len(each) for each in values])
        ends = np.concatenate([each.ends for each in grids])
        judgements = engine.run(whose, ends, np.concatenate(values)).rows()
    judged, first = [], 0
    for number, (each, found, grid, watch) in enumerate(zip(asked, measured, grids, watches, strict=True)):
        own = judgements[first : first + grid.count]
        first += grid.count
        current, changes = _alarms(watch, grid, found.watched, own, measure.alarm_config(each.part))
        after = replace(watch, state=engine.to_bytes(number), alarm=current)
        judged.append(Judged(found, grid, after, own, changes))
    return judged


def _come(grid: Grid, values: Float64, patience: int) -> Grid:
    """The slices up to the last one with a value, and those that end by `patience`."""
    last = int(np.flatnonzero(np.isfinite(values)).max(initial=-1))
    return replace(grid, count=min(grid.count, max(last + 1, (patience - grid.start) // grid.step)))


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
