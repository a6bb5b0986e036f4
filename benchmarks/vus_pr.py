"""VUS-PR: the volume under the surface of precision and recall (Paparrizos et al., "Volume under the surface", VLDB
2022), as TSB-AD computes it (Liu and Paparrizos, NeurIPS 2024)."""

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
THRESHOLDS = 250


def events(labels: npt.NDArray[np.bool_]) -> Int64:
    """First and last point of each run of anomalous points, shape (events, 2)."""
    edges = np.diff(np.concatenate(([0], labels.astype(np.int64), [0])))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1], axis=1)


def widened(runs: Int64, half: int, points: int) -> Int64:
    """The runs with so many points more on either side; those that then touch are one."""
    first, last = np.maximum(runs[:, 0] - half, 0), np.minimum(runs[:, 1] + half, points - 1)
    apart = last[:-1] < first[1:]
    return np.stack([first[np.append(True, apart)], last[np.append(apart, True)]], axis=1)


def softened(runs: Int64, window: int, points: int) -> Float64:
    """The anomaly's weight outside its run: sqrt(1 - distance / window) up to half a window away, at most 1."""
    weight = np.zeros(points)
    ramp = np.sqrt(1.0 - np.arange(1, window // 2 + 1) / max(window, 1))
    for first, last in runs:
        after = weight[last + 1 : last + 1 + len(ramp)]
        after += ramp[: len(after)]
        before = weight[max(first - len(ramp), 0) : first][::-1]
        before += ramp[: len(before)]
    return np.minimum(weight, 1.0)


def vus_pr(labels: npt.NDArray[Any], scores: Float64, window: int) -> float:
    """Of one series: the mean over all buffers up to `window` points of the area under precision by recall.

    `labels` and `scores` of shape (n,), both finite, at least one point anomalous; THRESHOLDS quantiles of the scores
    are thresholds. A point within a buffer counts by its weight; recall is cut by the share of events of which any
    point is found. O(window * n).
    """
    inside = np.asarray(labels, bool)
    points, runs = len(inside), events(inside)
    thresholds = -np.sort(-scores)[np.linspace(0, points - 1, THRESHOLDS).astype(np.int64)]
    found_at = np.searchsorted(-thresholds, -scores)

    def so_far(places: Int64, weight: Float64 | None = None) -> Float64:
        """What is found of the weights at each threshold."""
        return np.cumsum(np.bincount(places, weight, THRESHOLDS + 1))[:THRESHOLDS]

    alarms = so_far(found_at)
    hits = so_far(found_at, inside.astype(np.float64))
    reached = np.zeros(points, bool)
    for first, last in widened(runs, window // 2, points):
        reached[first : last + 1] = True
    volume = 0.0
    for width in range(window + 1):
        soft = so_far(found_at, np.where(inside | ~reached, 0.0, softened(runs, width, points)))
        ranges = widened(runs, width // 2, points)
        seen = so_far(np.array([found_at[first : last + 1].min() for first, last in ranges]))
        recall = np.minimum((hits + soft) / (inside.sum() + soft / 2), 1.0) * seen / len(ranges)
        volume += float(np.sum(np.diff(recall, prepend=0.0) * (hits + soft) / alarms))
    return volume / (window + 1)
