from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import batch
from plumbline_analysis.detection.alarm import QUIET, Change, Config, step
from plumbline_analysis.detection.backtest import Backtest, Raised

FIVE_MINUTES = 300_000_000
START = 1_700_000_000_000_000
Float64 = npt.NDArray[np.float64]


def noise(count: int, seed: int = 5) -> Float64:
    return np.random.default_rng(seed).normal(size=count)


def times(count: int) -> npt.NDArray[np.int64]:
    return START + FIVE_MINUTES * np.arange(count)


def test_an_event_is_one_alarm_with_its_onset_its_last_point_and_its_peak() -> None:
    values = noise(1000)
    values[800:806] = [9, 20, 9, 9, 9, 9]
    backtest = Backtest()
    _, opened = backtest.add(times(1000), values)
    [alarm] = [alarm for alarm in backtest.alarms if alarm.peak.value > 5]
    assert (alarm.onset, alarm.peak.at, alarm.ended) == (times(1000)[800], times(1000)[801], True)
    assert times(1000)[805] <= alarm.last <= times(1000)[815]
    assert opened[800:806].all()
    assert not opened[850:].any()


def test_an_alarm_that_is_not_over_is_told_as_such() -> None:
    values = noise(803)
    values[800:] = 20
    backtest = Backtest()
    _, opened = backtest.add(times(803), values)
    assert opened[-1]
    assert backtest.alarms[-1] == Raised(times(803)[800], times(803)[802], False, backtest.alarms[-1].peak)


@given(cuts=st.lists(st.integers(0, 900), max_size=4), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_points_in_parts_are_judged_as_in_one(cuts: list[int], seed: int) -> None:
    values = np.concatenate([noise(500, seed), 6 + noise(200, seed + 1), noise(200, seed)])
    values[::37] = np.nan
    whole, parts = Backtest(), Backtest()
    judged, opened = whole.add(times(900), values)
    np.testing.assert_array_equal(judged.score, batch.judge(times(900), values).score)
    edges = [0, *sorted(cuts), 900]
    found = [parts.add(times(900)[a:b], values[a:b])[1] for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(found), opened)
    assert parts.alarms == whole.alarms
    assert parts.counters == whole.counters


def plain(values: Float64, config: Config) -> tuple[list[bool], list[tuple[int, int]]]:
    """Point by point by the rule of alarms: when one is open, and the first and last points of those that ended."""
    alarm, opened, ended = QUIET, [], []
    for at, value, judgement in zip(
        times(len(values)).tolist(), values.tolist(), batch.judge(times(len(values)), values).rows(), strict=True
    ):
        alarm, change = step(alarm, at, value, judgement, config)
        opened.append(alarm.open)
        if change is Change.CLOSED:
            ended.append((alarm.onset, alarm.last))
    return opened, ended


@given(
    seed=st.integers(0, 100),
    events=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 50), st.floats(-20, 20)), max_size=4),
    config=st.sampled_from([Config(), Config(onset_points=2, direction="up"), Config(limit=3.0), Config(bar=0.7)]),
)
@settings(max_examples=30)
def test_points_that_are_passed_over_change_no_alarm(
    seed: int, events: list[tuple[int, int, float]], config: Config
) -> None:
    values = noise(600, seed)
    for begin, length, size in events:
        values[begin : begin + length] += size
    values[::41] = np.nan
    backtest = Backtest(config)
    _, opened = backtest.add(times(600), values)
    expected, ended = plain(values, config)
    assert opened.tolist() == expected
    assert [(alarm.onset, alarm.last) for alarm in backtest.alarms if alarm.ended] == ended


def test_late_points_are_not_judged_and_neither_open_nor_close_an_alarm() -> None:
    values = noise(1000)
    values[800:804] = 20
    plain, backtest = Backtest(), Backtest()
    _, expected = plain.add(times(1000), values)
    at = np.insert(times(1000), [801, 801, 801, 801, 900], [times(1000)[700]] * 5)
    judged, opened = backtest.add(at, np.insert(values, [801, 801, 801, 801, 900], [0.0, 0.0, 0.0, 0.0, 99.0]))
    assert np.isnan(judged.score[801:805]).all()
    assert opened[801:805].all()
    np.testing.assert_array_equal(np.delete(opened, [801, 802, 803, 804, 904]), expected)
    assert backtest.alarms == plain.alarms
    assert backtest.counters.late == 5
