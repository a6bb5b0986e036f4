"""Increases of cumulative series: what was added between one point and the next.

A stream is the points of one signal with one start time: OTLP's data model lets two processes that report the same
identity overlap, and their start times tell them apart. Within a monotonic stream a falling value is a reset that
the sender did not announce, and the new value is all that was added since (Prometheus' convention).
"""

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

FIRST_SPAN = 300 * 1_000_000
"""How long before its first point a stream may have started for that point to count in full, in microseconds."""


def stream_order(signal: Int64, start: Int64, time: Int64) -> Int64:
    """The permutation that sorts points by stream and then by time."""
    return np.lexsort((time, start, signal)).astype(np.int64)


def increases(
    signal: Int64, start: Int64, time: Int64, value: Float64, *, monotonic: bool
) -> tuple[Float64, Float64]:
    """The increase that each point reports, and the seconds over which it came about.

    All arguments have shape (n,) and stand in `stream_order`. Both results have shape (n,); NaN where a point is a
    baseline: the first of its stream, unless the stream started within `FIRST_SPAN` before it, in which case the
    point counts from its start. A start time of 0 is unknown, and one equal to the point's own time says that the
    sender, too, began to look there. O(n).
    """
    n = len(value)
    increase, seconds = np.full(n, np.nan), np.full(n, np.nan)
    if n == 0:
        return increase, seconds
    first = np.ones(n, bool)
    first[1:] = (signal[1:] != signal[:-1]) | (start[1:] != start[:-1])
    later = ~first[1:]
    difference = value[1:] - value[:-1]
    if monotonic:
        difference = np.where(difference < 0, value[1:], difference)
    increase[1:][later] = difference[later]
    seconds[1:][later] = (time[1:] - time[:-1])[later] / 1e6
    fresh = first & (start > 0) & (start < time) & (time - start <= FIRST_SPAN)
    increase[fresh] = value[fresh]
    seconds[fresh] = (time[fresh] - start[fresh]) / 1e6
    return increase, seconds
