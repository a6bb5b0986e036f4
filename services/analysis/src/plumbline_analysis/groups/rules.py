"""What a group of series says of a stretch of time. Pure, CPU-bound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plumbline_analysis.detection.multivariate import Group
from plumbline_analysis.series.panel import Series
from plumbline_analysis.series.slices import Float64

CALM = 12
"""Stretches above 1 that are fewer slices apart are one."""
_LEAST_SHARE = 0.05
_MOST_TOLD = 10


@dataclass(frozen=True)
class Part:
    """What a series adds to the worst score of an alarm, its value then and its median before the alarm."""

    series: int
    share: float
    value: float
    usual: float


@dataclass(frozen=True)
class Found:
    """A stretch in which the score was 1 or more; slices are counted from the first. Parts: the largest first."""

    first: int
    last: int
    peak: int
    score: float
    parts: list[Part]


@dataclass(frozen=True)
class Judged:
    """`score` of shape (slices,), NaN while the group learns and where no series has a value."""

    score: Float64
    alarms: list[Found]


def judge(series: Sequence[Series], asked_from: int) -> Judged:
    """Score the series together, slice after slice, each by those before it. Alarms from slice `asked_from` on.

    O(slices * series^2).
    """
    values = np.column_stack([each.values for each in series])
    judged = Group(len(series)).run(values)
    ranked = judged.ranked()
    alarms = []
    for first, last in _stretches(judged.score, asked_from):
        peak = first + int(np.nanargmax(judged.score[first : last + 1]))
        share = judged.contributions[peak] / judged.score[peak]
        largest = [int(place) for place in ranked[peak][:_MOST_TOLD] if share[place] >= _LEAST_SHARE]
        parts = [Part(place, share[place], values[peak, place], _median(values[:first, place])) for place in largest]
        alarms.append(Found(first, last, peak, judged.score[peak], parts))
    return Judged(judged.score, alarms)


def _stretches(score: Float64, asked_from: int) -> Iterator[tuple[int, int]]:
    above = asked_from + np.flatnonzero(score[asked_from:] >= 1.0)
    if len(above):
        for part in np.split(above, np.flatnonzero(np.diff(above) > CALM) + 1):
            yield int(part[0]), int(part[-1])


def _median(values: Float64) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
