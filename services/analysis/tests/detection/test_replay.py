from math import nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection import alarm, replay
from plumbline_analysis.detection.alarm import QUIET, Alarm, Change, Config
from plumbline_analysis.detection.replay import History
from plumbline_analysis.detection.streams import Judgement

STEP = 10_000_000
scores = st.lists(st.none() | st.sampled_from([nan, 0.0, 0.7, 0.9, 1.1, 2.5]) | st.floats(0, 5), max_size=120)
configs = st.builds(
    Config,
    direction=st.sampled_from(["up", "down", "both"]),
    bar=st.sampled_from([0.5, 1.0, 2.0, np.inf]),
    min_relative=st.sampled_from([0.0, 0.3]),
    limit=st.none() | st.just(14.0),
    onset_points=st.integers(1, 2),
    missing_points=st.sampled_from([2, 30]),
)


def value_at(score: float) -> float:
    return 10.0 if score != score else 10.0 + 2.0 * score


def history(given: list[float | None]) -> History:
    """Of a point for each slice; None is a slice without one, NaN a score while the engine was learning."""
    there = [(place, score) for place, score in enumerate(given) if score is not None]
    values = np.array([value_at(score) for _, score in there])
    expected = np.full(len(there), 10.0)
    time = np.array([(place + 1) * STEP for place, _ in there], np.int64)
    return History(
        STEP, time, values, expected, expected - 1, expected + 1, np.array([score for _, score in there], np.float64)
    )


def lived(given: list[float | None], config: Config) -> list[Alarm]:
    """The alarms of who steps from slice to slice."""
    current, found = QUIET, []
    for place, score in enumerate(given):
        value = nan if score is None else value_at(score)
        judgement = Judgement(nan, nan, nan, nan, ()) if score is None else Judgement(10.0, 9.0, 11.0, score, ())
        current, change = alarm.step(current, (place + 1) * STEP, value, judgement, config)
        if change is Change.CLOSED:
            found.append(current)
    return [*found, current] if current.open else found


@given(given=scores, config=configs)
def test_a_replay_raises_the_alarms_that_were_raised(given: list[float | None], config: Config) -> None:
    while given and given[-1] is None:  # after the last point nothing is known
        given.pop()
    told = [(each.onset, each.last, each.peak) for each in replay.alarms(history(given), config)]
    assert told == [(each.onset, each.last, each.peak) for each in lived(given, config)]


def test_the_score_at_a_time_is_that_of_its_point_alone() -> None:
    past = history([0.5, None, 2.5])
    assert (past.score_at(STEP), past.score_at(3 * STEP)) == (0.5, 2.5)
    assert all(np.isnan(past.score_at(at)) for at in (0, 2 * STEP, 4 * STEP))
    assert replay.alarms(history([]), Config()) == []
