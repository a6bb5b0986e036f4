import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection.alarm import MAX_WEIGHT, QUIET, Alarm, Change, Config, Peak, step
from plumbline_analysis.detection.streams import Judgement

CONFIG = Config(onset_points=2)
NAN = float("nan")
NO_JUDGEMENT = Judgement(NAN, NAN, NAN, NAN, (NAN,) * 4)


def play(
    scores: list[float | None], alarm: Alarm = QUIET, config: Config = CONFIG
) -> tuple[Alarm, list[tuple[int, Change]]]:
    """The changes by the place of the point; None is a point that is missing. A score of 1 lies at the band's end."""
    changes = []
    for at, score in enumerate(scores):
        judgement = NO_JUDGEMENT if score is None else Judgement(10.0, 5.0, 15.0, score, (score, 0.0, 0.0, 0.0))
        alarm, change = step(alarm, at, 10.0 + 5.0 * (score or 0), judgement, config)
        if change is not None:
            changes.append((at, change))
    return alarm, changes


def opens(value: float, judgement: Judgement, **config: Any) -> bool:
    """Whether one such point opens an alarm."""
    return step(QUIET, 1, value, judgement, Config(**config))[1] is Change.OPENED


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


def test_what_is_worse_than_the_last_alarm_waits_for_no_pause() -> None:
    ended = [2.0, 2.0, 0.1, 0.1, 0.1]
    assert play([*ended, 2.0, 3.0, 3.0])[1][-1] == (7, Change.OPENED)


def test_short_calm_joins_two_departures_to_one_alarm() -> None:
    alarm, changes = play([2.0, 2.0, 0.1, 0.1, 3.0, 0.1, 0.1, 0.1])
    assert [change for _, change in changes] == [Change.OPENED, Change.WORSENED, Change.CLOSED]
    assert (alarm.onset, alarm.last) == (0, 4)


def test_a_score_that_fades_keeps_the_alarm_open_while_the_value_stays_outside_the_band() -> None:
    alarm = play([2.0, 2.0])[0]
    outside = Judgement(10.0, 5.0, 15.0, 0.2, (0.2, 0.0, 0.0, 0.0))
    for at in range(2, 20):
        alarm, change = step(alarm, at, 16.0, outside, CONFIG)
        assert change is None
    assert (alarm.open, alarm.last) == (True, 19)


def test_points_just_outside_the_band_are_the_onset_of_the_alarm_that_follows_but_no_alarm() -> None:
    assert play([0.9] * 10)[1] == []
    alarm, changes = play([0.9, 0.9, 0.9, 2.0])
    assert (changes, alarm.onset) == ([(3, Change.OPENED)], 0)


JUDGED = Judgement(10.0, 5.0, 15.0, 2.0, (2.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("value", "direction", "expected"),
    [
        (20.0, "up", True),
        (1.0, "up", False),
        (20.0, "down", False),
        (1.0, "down", True),
        (20.0, "both", True),
        (1.0, "both", True),
        # A series that froze is as usual by its value.
        (10.0, "both", True),
        (10.0, "up", False),
    ],
)
def test_only_the_side_that_matters_alarms(value: float, direction: str, expected: bool) -> None:
    assert opens(value, JUDGED, direction=direction) is expected


def test_a_departure_has_to_be_large_enough_in_absolute_and_in_relative_terms() -> None:
    assert opens(16.0, JUDGED, min_absolute=6.0, min_relative=0.6)
    assert not opens(16.0, JUDGED, min_absolute=6.1)
    assert not opens(16.0, JUDGED, min_relative=0.61)


def test_the_bar_says_from_which_score_on_there_is_an_alarm() -> None:
    assert opens(20.0, JUDGED, bar=2.0)
    assert not opens(20.0, JUDGED, bar=2.1)


def test_a_limit_that_normal_points_keep_is_a_departure_however_noisy_the_series() -> None:
    noisy = Judgement(10.0, -50.0, 90.0, 0.3, (0.3, 0.0, 0.0, 0.0))
    assert opens(20.0, noisy, limit=20.0)
    assert not opens(19.0, noisy, limit=20.0)
    assert opens(5.0, noisy, limit=5.0, direction="down")
    # What normal points pass is no limit to them.
    assert not opens(20.0, noisy, limit=9.0, direction="up")
    assert not opens(1.0, noisy, limit=11.0, direction="down")


def test_while_the_engine_learns_only_a_limit_can_be_passed() -> None:
    learning = Judgement(10.0, 5.0, 15.0, NAN, (NAN,) * 4)
    assert not opens(1e6, learning)
    assert opens(30.0, learning, limit=20.0)
    assert not opens(19.0, learning, limit=20.0)
    alarm, _ = step(QUIET, 7, 30.0, learning, Config(limit=20.0))
    assert alarm.peak == Peak(7, 2.0, 30.0, 10.0, 5.0, 15.0, ())


def test_a_limit_that_is_nearly_what_is_expected_gives_no_boundless_weight() -> None:
    alarm, _ = step(QUIET, 0, 1e9, JUDGED, Config(limit=10.0 + 1e-9))
    assert alarm.peak is not None
    assert alarm.peak.score == MAX_WEIGHT


def test_an_alarm_stored_without_members_can_be_read() -> None:
    stored = play([2.0, 2.0])[0].to_json()
    del stored["peak"]["members"]
    read = Alarm.from_json(stored)
    assert read.peak is not None
    assert read == replace(play([2.0, 2.0])[0], peak=replace(read.peak, members=()))


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
