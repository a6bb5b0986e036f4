"""The benches' reading of VUS-PR, against a slow one that goes point after point and threshold after threshold."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def _loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "vus_pr.py"
    spec = importlib.util.spec_from_file_location("vus_pr", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["vus_pr"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule = _loaded()


def slow_ranges(labels: list[int], half: int) -> list[set[int]]:
    """The places of each event with its buffer; events whose buffers meet are one."""
    ranges: list[set[int]] = []
    for place, label in enumerate(labels):
        if label and (place == 0 or not labels[place - 1]):
            last = next((end for end in range(place, len(labels)) if not labels[end]), len(labels)) - 1
            around = set(range(max(place - half, 0), min(last + half, len(labels) - 1) + 1))
            if ranges and ranges[-1] & around:
                ranges[-1] |= around
            else:
                ranges.append(around)
    return ranges


def slow_weight(labels: list[int], place: int, window: int) -> float:
    if labels[place]:
        return 1.0
    total = 0.0
    for other, label in enumerate(labels):
        after = label and other < place and not labels[other + 1]
        before = label and other > place and not labels[other - 1]
        if (after or before) and abs(other - place) <= window // 2:
            total += math.sqrt(1 - abs(other - place) / window)
    return min(total, 1.0)


def slow(labels: list[int], scores: list[float], window: int) -> float:
    points = len(labels)
    thresholds = [sorted(scores, reverse=True)[int(place)] for place in np.linspace(0, points - 1, rule.THRESHOLDS)]
    volume = 0.0
    for width in range(window + 1):
        weights = [slow_weight(labels, place, width) for place in range(points)]
        ranges, area, before = slow_ranges(labels, width // 2), 0.0, 0.0
        for threshold in thresholds:
            alarms = [place for place in range(points) if scores[place] >= threshold]
            hits = sum(weights[place] for place in alarms)
            soft = sum(weights[place] for place in alarms if not labels[place])
            found = sum(1 for each in ranges if each & set(alarms)) / len(ranges)
            recall = min(hits / (sum(labels) + soft / 2), 1.0) * found
            area += (recall - before) * hits / len(alarms)
            before = recall
        volume += area
    return volume / (window + 1)


@given(
    points=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=25),
    window=st.integers(0, 8),
)
@settings(max_examples=50)
def test_it_is_what_the_slow_one_says(points: list[tuple[int, int]], window: int) -> None:
    labels, scores = [label for label, _ in points], [float(score) for _, score in points]
    labels[len(labels) // 2] = 1
    fast = rule.vus_pr(np.array(labels), np.array(scores), window)
    assert fast == pytest.approx(slow(labels, scores, window))


def test_a_perfect_score_is_near_one_and_a_reversed_one_near_the_share_of_anomalies() -> None:
    labels = np.zeros(1000)
    labels[400:500] = 1
    assert rule.vus_pr(labels, labels + np.linspace(0, 1e-9, 1000), 0) == pytest.approx(1.0, abs=0.01)
    assert rule.vus_pr(labels, -labels + np.linspace(0, 1e-9, 1000), 0) < 0.1
