from typing import Any

import numpy as np
import pytest

from plumbline_analysis.backtests.kind import _sent
from plumbline_analysis.backtests.run import Inputs, Series, Stored, Truth, Truths, run, usual_step
from plumbline_analysis.backtests.schemas import BacktestPoint, DetectorConfig
from plumbline_analysis.detection import alarm, batch, replay
from plumbline_analysis.detection.replay import History
from plumbline_analysis.moments import moment
from plumbline_common.errors import Invalid

SECOND = 1_000_000
STEP = 60 * SECOND
START = 1_790_000_000 * SECOND // STEP * STEP
COUNT = 2_000
ON, OFF = 1_500, 1_510


def silent(share: float, message: str) -> None:
    pass


@pytest.fixture(scope="module")
def series() -> Series:
    """Calm but for ten minutes that are far too high."""
    time = START + STEP * np.arange(1, COUNT + 1)
    value = 100 + np.random.default_rng(3).normal(0, 1, COUNT)
    value[ON:OFF] += 60
    return Series(START, int(time[-1]), STEP, time, value)


def truths(series: Series, *of: bool, by: Any = "windows") -> Truths:
    """Of the ten minutes, and of others in which nothing was."""
    windows = [Truth(int(series.time[ON]), int(series.time[OFF]), True), Truth(START, START + STEP, False)]
    return Truths(by, [each for each, wanted in zip(windows, of, strict=False) if wanted])


def tried(series: Series, known: Truths, **config: Any) -> dict[str, Any]:
    (found,) = run(Inputs(series, [DetectorConfig(**config)], known), silent)["detectors"]
    return dict(found)


def test_an_alarm_is_told_with_its_times_its_peak_and_what_it_is_worth(series: Series) -> None:
    found = tried(series, truths(series, True), bar=2.0, direction="up", min_absolute=20)
    (raised,) = found["alarms"]
    assert raised["onset"] == raised["opened_at"] == moment(int(series.time[ON])).isoformat().replace("+00:00", "Z")
    assert raised["end"] is not None
    assert (raised["direction"], raised["label"]) == ("up", "true_positive")
    assert raised["peak"]["value"] > 150
    assert found["alarms_a_week"] == pytest.approx(1 / (COUNT / (7 * 1440)))
    quality = found["quality"]
    assert (quality["precision"], quality["recall"], quality["delay_seconds"]) == (1.0, 1.0, 0.0)


def test_points_that_an_onset_takes_are_delay(series: Series) -> None:
    found = tried(series, truths(series, True), bar=1.0, min_absolute=20, onset_points=3)
    assert found["quality"]["delay_seconds"] == 120


def test_with_windows_every_other_alarm_is_false_and_with_labels_it_says_nothing(series: Series) -> None:
    elsewhere = [Truth(START, START + STEP, True)]
    by_windows = tried(series, Truths("windows", elsewhere), min_absolute=20)["quality"]
    assert (by_windows["precision"], by_windows["recall"], by_windows["delay_seconds"]) == (0.0, 0.0, None)
    by_labels = tried(series, Truths("feedback", elsewhere), min_absolute=20)["quality"]
    assert (by_labels["precision"], by_labels["recall"]) == (None, 0.0)
    assert tried(series, Truths("feedback", []), min_absolute=20)["quality"] is None


def test_a_label_of_a_false_alarm_counts_against_precision(series: Series) -> None:
    said = [Truth(int(series.time[ON]), None, False)]
    found = tried(series, Truths("feedback", said), min_absolute=20)
    assert found["alarms"][0]["label"] == "false_positive"
    assert (found["quality"]["precision"], found["quality"]["recall"]) == (0.0, None)


def test_detectors_stand_side_by_side_and_a_stricter_one_never_raises_more(series: Series) -> None:
    configs = [DetectorConfig(bar=bar) for bar in (0.5, 1.0, 2.0)] + [DetectorConfig(name="down", direction="down")]
    result = run(Inputs(series, configs, truths(series)), silent)
    assert [each["name"] for each in result["detectors"]] == ["1", "2", "3", "down"]
    counts = [each["alarms_total"] for each in result["detectors"]]
    assert counts[0] >= counts[1] >= counts[2] >= 1


def test_it_says_what_the_engine_and_the_alarms_say_of_the_series_as_a_whole(series: Series) -> None:
    judged = batch.judge(series.time, series.value)
    history = History(STEP, series.time, series.value, judged.expected, judged.lower, judged.upper, judged.score)
    expected = replay.alarms(history, alarm.Config(bar=1.0))
    found = tried(series, truths(series))
    assert [each["onset"] for each in found["alarms"]] == [
        moment(each.onset).isoformat().replace("+00:00", "Z") for each in expected
    ]


def test_progress_grows_to_the_end(series: Series) -> None:
    told: list[float] = []
    run(Inputs(series, [DetectorConfig()] * 3, truths(series)), lambda share, message: told.append(share))
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1


def test_points_that_are_sent_along_are_a_series_of_their_own_step() -> None:
    points = [BacktestPoint(time=moment(START + 300 * SECOND * n), value=float(n)) for n in (2, 0, 1)]
    found = _sent(points, None).series()
    assert (found.step, found.value.tolist()) == (300 * SECOND, [0.0, 1.0, 2.0])


def test_too_many_slices_are_refused_by_the_member_at_fault() -> None:
    stored = _sent([BacktestPoint(time=moment(START + n * 10**12), value=0.0) for n in range(5)], 1)
    with pytest.raises(Invalid, match="slices, more than") as refused:
        stored.series()
    assert refused.value.pointer == "/step_seconds"


@pytest.mark.parametrize(
    ("seconds", "least", "step"), [([], 10, 10), ([0], 10, 10), ([0, 3, 6], 10, 10), ([0, 61, 119, 180], 10, 60)]
)
def test_slices_are_as_long_as_points_are_apart(seconds: list[int], least: int, step: int) -> None:
    assert usual_step(np.array(seconds, np.int64) * SECOND, least * SECOND) == step * SECOND


def test_an_empty_history_raises_nothing() -> None:
    empty = Series(START, START + STEP, STEP, np.empty(0, np.int64), np.empty(0))
    found = tried(empty, Truths("windows", []))
    assert (found["alarms_total"], found["quality"]["precision"]) == (0, None)
    assert isinstance(_sent([BacktestPoint(time=moment(START), value=1.0)], None), Stored)
