import json

from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection.alarm import QUIET, Alarm, Change, Config, step
from plumbline_analysis.detection.univariate import NO_JUDGEMENT, Judgement

CONFIG = Config()


def play(scores: list[float | None], alarm: Alarm = QUIET) -> tuple[Alarm, list[tuple[int, Change]]]:
    """The changes by the place of the point; None is a point that is missing."""
    changes = []
    for at, score in enumerate(scores):
        judgement = NO_JUDGEMENT if score is None else Judgement(10.0, 5.0, 15.0, score)
        alarm, change = step(alarm, at, 10.0 + 5.0 * (score or 0), judgement, CONFIG)
        if change is not None:
            changes.append((at, change))
    return alarm, changes


def test_one_point_outside_the_band_is_no_anomaly() -> None:
    assert play([0.1, 5.0, 0.1, 5.0, 0.1])[1] == []


def test_the_onset_is_the_first_of_the_points_that_opened_it() -> None:
    alarm, changes = play([0.1, 2.0, 3.0])
    assert changes == [(2, Change.OPENED)]
    assert (alarm.onset, alarm.peak and alarm.peak.at) == (1, 2)


def test_a_worse_point_moves_the_peak() -> None:
    alarm, changes = play([2.0, 2.0, 1.5, 9.0])
    assert changes == [(1, Change.OPENED), (3, Change.WORSENED)]
    assert alarm.peak is not None
    assert (alarm.peak.at, alarm.peak.score, alarm.peak.direction) == (3, 9.0, "up")


def test_it_ends_after_calm_points_at_the_last_one_outside() -> None:
    alarm, changes = play([2.0, 2.0, 0.1, 0.1, 2.0, 0.1, 0.1, 0.1])
    assert changes == [(1, Change.OPENED), (7, Change.CLOSED)]
    assert alarm.last == 4


def test_a_score_just_below_the_threshold_neither_ends_nor_starts_it() -> None:
    assert play([2.0, 2.0, *[0.9] * 10])[1] == [(1, Change.OPENED)]
    assert play([0.9] * 10)[1] == []


def test_after_its_end_there_is_a_pause() -> None:
    ended = [2.0, 2.0, 0.1, 0.1, 0.1]
    assert play([*ended, 2.0, 2.0, 2.0])[1][-1] == (4, Change.CLOSED)
    assert play([*ended, *[2.0] * 10])[1][-1] == (4 + CONFIG.pause_points + 2, Change.OPENED)


def test_missing_points_hold_it_open_but_not_for_ever() -> None:
    assert play([2.0, 2.0, *[None] * 29])[1] == [(1, Change.OPENED)]
    assert play([2.0, 2.0, *[None] * 30])[1] == [(1, Change.OPENED), (31, Change.CLOSED)]


def test_a_gap_does_not_join_two_lone_points() -> None:
    assert play([2.0, *[None] * 30, 2.0])[1] == []


@given(scores=st.lists(st.none() | st.floats(0, 10), max_size=80), cut=st.integers(0, 80))
def test_every_opening_is_closed_before_the_next_and_a_restart_changes_nothing(
    scores: list[float | None], cut: int
) -> None:
    whole, changes = play(scores)
    kinds = [change for _, change in changes if change is not Change.WORSENED]
    assert kinds == [Change.OPENED, Change.CLOSED] * (len(kinds) // 2) + [Change.OPENED] * (len(kinds) % 2)
    alarm = play(scores[:cut])[0]
    restored = Alarm.from_json(json.loads(json.dumps(alarm.to_json())))
    assert restored == alarm
    assert whole.open is (len(kinds) % 2 == 1)
