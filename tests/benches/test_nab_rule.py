"""The benches' reading of NAB's rule, against a slow one that takes it word by word."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def _loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "nab_rule.py"
    spec = importlib.util.spec_from_file_location("nab_rule", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["nab_rule"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule = _loaded()


def series(points: int, *windows: tuple[int, int], domain: str = "some") -> object:
    return rule.Series(f"{domain}/file.csv", np.arange(points), np.zeros(points), windows, ())


def sigmoid(position: float) -> float:
    return -1.0 if position > 3 else 2 / (1 + math.exp(5 * position)) - 1


def slow_raw(
    points: int, windows: list[tuple[int, int]], scores: list[float], threshold: float, profile: object
) -> float:
    """One file at one threshold, point after point; from 0 for each window that is found at its first point."""
    found: dict[int, float] = {}
    result = 0.0
    for index in range(int(0.15 * min(points, 5000)), points):
        if math.isnan(scores[index]) or scores[index] < threshold:
            continue
        inside = [number for number, (left, right) in enumerate(windows) if left <= index <= right]
        if inside:
            left, right = windows[inside[0]]
            place = -(right - index + 1) / (right - left + 1)
            found[inside[0]] = max(found.get(inside[0], -9.0), sigmoid(place) / sigmoid(-1))
            continue
        before = [window for window in windows if window[1] < index]
        if before:
            left, right = before[-1]
            result += profile.false_alarm * sigmoid((index - right) / max(right - left, 1))
        else:
            result -= profile.false_alarm
    return result + sum(found.get(number, -profile.missed) for number in range(len(windows)))


@st.composite
def files(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[float]]:
    points = draw(st.integers(20, 80))
    ends = sorted(draw(st.sets(st.integers(12, points - 1), max_size=6)))
    windows = list(zip(ends[::2], ends[1::2], strict=False))
    scores = draw(st.lists(st.sampled_from([math.nan, 0.0, 0.25, 0.5, 0.75, 1.0]), min_size=points, max_size=points))
    return points, windows, scores


@given(corpus=st.lists(files(), min_size=1, max_size=3), name=st.sampled_from(sorted(rule.PROFILES)))
def test_the_sweep_is_the_word_by_word_rule_at_every_threshold(
    corpus: list[tuple[int, list[tuple[int, int]], list[float]]], name: str
) -> None:
    profile = rule.PROFILES[name]
    steps = rule.swept([series(n, *windows) for n, windows, _ in corpus], [np.array(s) for _, _, s in corpus])
    count = sum(len(windows) for _, windows, _ in corpus)
    best = 0.0
    for threshold in (0.0, 0.25, 0.5, 0.6, 0.75, 1.0, 2.0):
        raw = sum(slow_raw(n, windows, scores, threshold, profile) for n, windows, scores in corpus)
        expected = 100 * (raw + profile.missed * count) / ((1 + profile.missed) * max(count, 1))
        assert steps.at(profile, threshold) == pytest.approx(expected, abs=1e-9)
        best = max(best, expected)
    assert steps.best(profile)[0] == pytest.approx(best, abs=1e-9)


def test_what_says_nothing_gets_0_and_what_fires_at_each_windows_first_point_gets_100() -> None:
    given, nothing = np.zeros(100), np.full(100, np.nan)
    given[[40, 70]] = 1
    file = series(100, (40, 49), (70, 79))
    assert rule.swept([file], [nothing]).best(rule.STANDARD) == (0.0, np.inf)
    assert rule.swept([file], [given]).best(rule.STANDARD) == (pytest.approx(100), 1.0)


def test_one_false_alarm_before_any_window_costs_11_hundredths_of_a_window() -> None:
    given = np.zeros(100)
    given[[20, 40]] = 1
    assert rule.swept([series(100, (40, 49))], [given]).at(rule.STANDARD, 1.0) == pytest.approx(100 - 5.5)


def test_a_detection_at_the_end_of_a_window_is_worth_less_and_probation_is_not_scored() -> None:
    given = np.zeros(100)
    given[[3, 14, 49]] = 1
    last = (2 / (1 + math.exp(-0.5)) - 1) / (2 / (1 + math.exp(-5)) - 1)
    assert rule.swept([series(100, (40, 49))], [given]).at(rule.STANDARD, 1.0) == pytest.approx(50 + 50 * last)
    assert (rule.probation(4032), rule.probation(22695)) == (604, 750)


def test_leaving_a_domain_out_takes_the_threshold_from_the_others() -> None:
    one, two = np.zeros(100), np.zeros(100)
    one[40], two[40], two[20] = 0.5, 1.0, 0.5
    corpus = [series(100, (40, 49), domain="one"), series(100, (40, 49), domain="two")]
    score, parts = rule.left_out(corpus, [one, two], rule.STANDARD)
    assert parts == {"one": 0.0, "two": pytest.approx(94.5)}
    assert score == pytest.approx(47.25)
