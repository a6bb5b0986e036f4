"""A backtest: from points to what each detector would have raised, and how good that is. Pure, CPU-bound."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from plumbline_analysis.backtests.schemas import (
    MOST_TOLD,
    BacktestAlarm,
    BacktestedDetector,
    BacktestPeak,
    BacktestQuality,
    BacktestResult,
    DetectorConfig,
)
from plumbline_analysis.detection import alarm, replay
from plumbline_analysis.detection.alarm import Alarm
from plumbline_analysis.detection.replay import History, Raised
from plumbline_analysis.detection.streams import Engine
from plumbline_analysis.jobs.kind import Report
from plumbline_analysis.moments import moment
from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points
from plumbline_analysis.series.slices import Float64, Grid, Int64
from plumbline_common.errors import Invalid
from plumbline_common.schemas import Aggregation, Label

MOST_SLICES = 1_000_000
_BLOCK = 50_000
"""So many points are judged between two reports."""
_SECOND = 1_000_000
_WEEK = 7 * 86_400 * _SECOND


@dataclass(frozen=True)
class Truth:
    """A stretch of time, in microseconds, and whether something was wrong in it; no `end` while it goes on."""

    start: int
    end: int | None
    wrong: bool

    def meets(self, found: Alarm) -> bool:
        return (self.end is None or found.onset <= self.end) and self.start <= found.last


@dataclass(frozen=True)
class Truths:
    """`of` says whose word it is: `windows` name all that was wrong, people's labels (`feedback`) some of it."""

    of: Literal["windows", "feedback"]
    known: Sequence[Truth]

    def label(self, found: Alarm) -> Label | None:
        """What they make of an alarm; None where they say nothing of it."""
        met = [each.wrong for each in self.known if each.meets(found)]
        if any(met):
            return Label.TRUE_POSITIVE
        return Label.FALSE_POSITIVE if met or self.of == "windows" else None


@dataclass(frozen=True)
class Series:
    """Values at times in microseconds that ascend, shape (n,) each, never NaN; `step` the length of a slice."""

    start: int
    end: int
    step: int
    time: Int64
    value: Float64


@dataclass(frozen=True)
class Inputs:
    """What a worker's process is given: a ready series, or points with how they become one."""

    history: "Series | Stored"
    detectors: Sequence[DetectorConfig]
    truths: Truths


@dataclass(frozen=True)
class Stored:
    """Points in (start, end]; microseconds. Without a `step` slices are as long as points are apart, and a whole
    number of times as long as `least`."""

    start: int
    end: int
    step: int | None
    least: int
    aggregation: Aggregation
    points: Points

    def series(self) -> Series:
        """Raises `Invalid` where there would be more than `MOST_SLICES` slices."""
        step = self.step or usual_step(self._times(), self.least)
        start = self.start // step * step
        count = -(-(self.end - start) // step)
        if count > MOST_SLICES:
            raise Invalid(
                f"that gives {count} slices, more than {MOST_SLICES}: ask for longer ones, or a shorter time",
                pointer="/step_seconds",
            )
        grid = Grid(start, step, count)
        values = derived.values(self.points, grid, self.aggregation, None)
        known = np.isfinite(values)
        return Series(self.start, self.end, step, grid.ends[known], values[known])

    def _times(self) -> Int64:
        histograms = np.array([each.time for each in self.points.histograms], np.int64)
        return np.unique(np.concatenate([self.points.time, histograms]))


def usual_step(times: Int64, least: int) -> int:
    """The median distance of times, shape (n,), that ascend, rounded to a whole number of `least`; microseconds."""
    if len(times) < 2:
        return least
    return max(1, round(float(np.median(np.diff(times))) / least)) * least


def run(inputs: Inputs, report: Report) -> dict[str, Any]:
    """O(points + detectors * alarms * their points). The first 60 points only teach the engine."""
    report(0.0, "puts the points into slices")
    series = inputs.history.series() if isinstance(inputs.history, Stored) else inputs.history
    history = judged(series, report)
    tried = []
    for place, config in enumerate(inputs.detectors):
        report(0.8 + 0.2 * place / len(inputs.detectors), f"tries detector {place + 1} of {len(inputs.detectors)}")
        name = config.name or str(place + 1)
        tried.append(backtested(history, config, name, inputs.truths, series.end - series.start))
    result = BacktestResult(
        start=moment(series.start),
        end=moment(series.end),
        step_seconds=series.step / _SECOND,
        points=len(series.time),
        labels=inputs.truths.of,
        detectors=tried,
    )
    return result.model_dump(mode="json")


def judged(series: Series, report: Report) -> History:
    """What the engine would have said of each point as it came; the alarms do not change what it learns."""
    engine, blocks = Engine(1), []
    for first in range(0, len(series.time), _BLOCK):
        report(0.1 + 0.7 * first / len(series.time), "judges the history")
        at, values = series.time[first : first + _BLOCK], series.value[first : first + _BLOCK]
        blocks.append(engine.run(np.zeros(len(at), np.int64), at, values))
    expected, lower, upper, score = (
        np.concatenate([getattr(block, name) for block in blocks]) if blocks else np.empty(0)
        for name in ("expected", "lower", "upper", "score")
    )
    return History(series.step, series.time, series.value, expected, lower, upper, score)


def alarm_config(config: DetectorConfig) -> alarm.Config:
    return alarm.Config(**config.model_dump(exclude={"name"}))


def backtested(history: History, config: DetectorConfig, name: str, truths: Truths, span: int) -> BacktestedDetector:
    """One detector on a history of `span` microseconds."""
    found = replay.raised(history, alarm_config(config))
    labels = [truths.label(each.alarm) for each in found]
    return BacktestedDetector(
        detector=config,
        name=name,
        alarms_total=len(found),
        alarms_a_week=len(found) / (span / _WEEK) if span else None,
        alarms=[_told(*each) for each in zip(found[:MOST_TOLD], labels, strict=False)],
        quality=quality(found, labels, truths) if truths.known or truths.of == "windows" else None,
    )


def quality(found: Sequence[Raised], labels: Sequence[Label | None], truths: Truths) -> BacktestQuality:
    """Precision by alarms, recall by stretches: one that several alarms met is found once."""
    true, false = (labels.count(label) for label in (Label.TRUE_POSITIVE, Label.FALSE_POSITIVE))
    wrong = [each for each in truths.known if each.wrong]
    first = [next((alarm.opened for alarm in found if each.meets(alarm.alarm)), None) for each in wrong]
    delays = [max(0, at - each.start) / _SECOND for at, each in zip(first, wrong, strict=True) if at is not None]
    return BacktestQuality(
        true_alarms=true,
        false_alarms=false,
        found=len(delays),
        missed=len(wrong) - len(delays),
        precision=true / (true + false) if true + false else None,
        recall=len(delays) / len(wrong) if wrong else None,
        delay_seconds=statistics.median(delays) if delays else None,
    )


def _told(found: Raised, label: Label | None) -> BacktestAlarm:
    peak = found.alarm.peak
    assert peak is not None
    return BacktestAlarm(
        onset=moment(found.alarm.onset),
        opened_at=moment(found.opened),
        end=None if found.alarm.open else moment(found.alarm.last),
        direction=peak.direction,
        peak=BacktestPeak(
            at=moment(peak.at),
            score=peak.score,
            value=peak.value,
            expected=peak.expected,
            lower=peak.lower,
            upper=peak.upper,
        ),
        label=cast("Literal['true_positive', 'false_positive'] | None", label and label.value),
    )
