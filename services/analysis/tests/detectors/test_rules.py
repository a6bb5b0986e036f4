from uuid import UUID

import numpy as np
import pytest

from plumbline_analysis.detection.alarm import Config
from plumbline_analysis.detection.replay import History
from plumbline_analysis.detectors import rules
from plumbline_analysis.detectors.rules import Labelled
from plumbline_common.schemas import Label

STEP = 10_000_000
PAUSE = 60
"""Slices between two departures, and before the first."""


def past(*peaks: float, value: float = 2.0) -> History:
    """Departures of three points, each with its peak score in the middle, from a calm of 1.0."""
    scores = np.full(PAUSE * (len(peaks) + 1), 0.1)
    values = np.full(len(scores), 1.0)
    for number, peak in enumerate(peaks, 1):
        scores[number * PAUSE : number * PAUSE + 3] = 0.85 * peak, peak, 0.85 * peak
        values[number * PAUSE : number * PAUSE + 3] = value
    time = np.arange(1, len(scores) + 1, dtype=np.int64) * STEP
    band = np.full(len(scores), 1.0)
    return History(STEP, time, values, band, band - 2, band + 2, scores)


def anomaly(number: int, label: Label) -> Labelled:
    """Of the departure `number`, from 1."""
    onset = (number * PAUSE + 1) * STEP
    return Labelled(UUID(int=number), label, onset, onset + 2 * STEP, onset + STEP)


def test_false_positives_near_the_bar_ask_for_a_higher_one_and_the_change_tells_what_is_lost() -> None:
    history, config = past(1.1, 1.1, 1.1, 1.1, 2.5, 1.1), Config(onset_points=2)
    false = [anomaly(number, Label.FALSE_POSITIVE) for number in range(1, 5)]
    true = anomaly(5, Label.TRUE_POSITIVE)
    assert rules.propose(history, config, [*false, true]) == 1.3
    change = rules.change(history, config, 1.3, [*false, true])
    assert (change.now, change.then) == (6, 1)
    assert (change.kept, change.lost) == ([true], false)


def test_what_neither_bar_raises_is_neither_kept_nor_lost() -> None:
    history = past(1.1, 2.5)
    low, high = anomaly(1, Label.TRUE_POSITIVE), anomaly(2, Label.TRUE_POSITIVE)
    change = rules.change(history, Config(bar=1.5), 2.0, [low, high])
    assert (change.now, change.then, change.kept, change.lost) == (1, 1, [high], [])
    assert rules.change(history, Config(bar=1.5), 1.0, [low, high]).kept == [low, high]


def test_an_anomaly_that_the_limit_raises_at_any_bar_says_nothing_about_the_bar() -> None:
    history = past(1.1, 1.1, 1.1, 1.1)
    false = [anomaly(number, Label.FALSE_POSITIVE) for number in range(1, 5)]
    assert rules.propose(history, Config("up", limit=5.0), false) == 1.3
    assert rules.propose(history, Config("up", limit=1.9), false) == 1.0
    assert rules.change(history, Config("up", limit=1.9), 4.0, false).kept == false


def test_labels_without_a_score_in_the_history_count_nothing() -> None:
    earlier = [anomaly(number, Label.FALSE_POSITIVE) for number in range(5, 20)]
    assert rules.propose(past(1.1), Config(), earlier) == 1.0


@pytest.mark.parametrize("end", [None, 10**12])
def test_an_anomaly_is_told_by_an_alarm_at_the_same_time(end: int | None) -> None:
    history = past(1.5)
    going_on = Labelled(UUID(int=1), Label.TRUE_POSITIVE, (PAUSE + 2) * STEP, end, (PAUSE + 2) * STEP)
    assert rules.change(history, Config(), 1.0, [going_on]).kept == [going_on]
    later = Labelled(UUID(int=1), Label.TRUE_POSITIVE, (PAUSE + 9) * STEP, end, (PAUSE + 9) * STEP)
    assert rules.change(history, Config(), 1.0, [later]).kept == []
