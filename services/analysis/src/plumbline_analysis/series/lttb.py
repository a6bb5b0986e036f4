"""Downsampling for pictures by largest triangle three buckets: few points that draw the same line."""

import numpy as np

from plumbline_analysis.series.slices import Float64, Int64


def chosen(x: Float64, y: Float64, most: int) -> Int64:
    """Ascending places of at most `most` (>= 3) of n points; all of them where they are no more.

    `x` ascends; shape (n,) each, finite. The first and the last point stay. The others are cut into `most - 2`
    buckets of equal numbers, and of each that point stays which makes the largest triangle with the one chosen before
    and the mean of the next bucket. O(n). S. Steinarsson, Downsampling Time Series for Visual Representation, 2013.
    """
    n = len(x)
    if n <= most:
        return np.arange(n)
    edges = 1 + (np.arange(most - 1) * (n - 2) / (most - 2)).astype(np.int64)
    ends = np.append(edges[1:], n)
    size = ends - edges
    next_x, next_y = np.add.reduceat(x, edges) / size, np.add.reduceat(y, edges) / size
    found = np.empty(most, np.int64)
    found[0], found[-1] = 0, n - 1
    at = 0
    for bucket in range(most - 2):
        begin, end = edges[bucket], edges[bucket + 1]
        dx, dy = next_x[bucket + 1] - x[at], next_y[bucket + 1] - y[at]
        area = np.abs(dx * (y[begin:end] - y[at]) - (x[begin:end] - x[at]) * dy)
        at = begin + int(area.argmax())
        found[bucket + 1] = at
    return found
