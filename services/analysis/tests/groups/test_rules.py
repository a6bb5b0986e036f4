"""A group of series over a stretch of time."""

import numpy as np

from plumbline_analysis.groups import rules
from plumbline_analysis.series.panel import Series

RANDOM = np.random.default_rng(5)


def three(slices: int = 400) -> list[Series]:
    """Requests, CPU that follows them, and a disk of its own."""
    load = 100 + 30 * np.sin(np.arange(slices) / 40) + RANDOM.normal(0, 2, slices)
    columns = {
        "requests": load,
        "cpu": load / 200 + RANDOM.normal(0, 0.01, slices),
        "disk": RANDOM.normal(5, 1, slices),
    }
    return [Series(name, "mean", "1", values) for name, values in columns.items()]


def test_a_relation_that_breaks_is_an_alarm_of_those_that_break_it() -> None:
    series = three()
    # Both values are usual; that they come together is not.
    series[1].values[300:320] = 1.0 - series[1].values[300:320]
    judged = rules.judge(series, 200)
    (alarm,) = judged.alarms
    assert 300 <= alarm.first <= 305
    assert alarm.first <= alarm.peak <= alarm.last
    assert alarm.score == judged.score[alarm.first : alarm.last + 1].max() >= 1
    assert alarm.parts[0].series == 1
    assert alarm.parts[0].value < alarm.parts[0].usual
    assert [part.share for part in alarm.parts] == sorted((part.share for part in alarm.parts), reverse=True)
    assert sum(part.share for part in alarm.parts) <= 1 + 1e-9


def test_ordinary_time_has_no_alarm_and_what_is_before_the_range_tells_none() -> None:
    assert rules.judge(three(), 200).alarms == []
    series = three()
    series[2].values[100:110] = 90.0
    assert rules.judge(series, 50).alarms
    assert rules.judge(series, 390).alarms == []


def test_series_without_values_are_no_alarm() -> None:
    empty = [Series("cpu", "mean", "1", np.full(100, np.nan))]
    assert rules.judge(empty, 0).alarms == []
